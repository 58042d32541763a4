//! Certificates at the gateway: who a client's names, when it stops holding, and a server's own from files.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use stockade_access::ExternalIdentity;
use stockade_evidence::Event;
use tempfile::TempDir;

use crate::harness::{
    Client, House, Running,
    authority::{Authority, Certified, Wanted},
    client::Connection,
};

const MODEL: &str = "/v2/models/digits";
const A: &str = "spiffe://example.org/a";

/// A house with the principals `a` (bound to [`A`]) and `b`, and the authority of their certificates.
struct Fixture {
    house: House,
    authority: Authority,
    folder: TempDir,
    keys: [String; 2],
}

impl Fixture {
    async fn new() -> Self {
        let house = House::new().await;
        let keys = [
            house.enrol("a", &["client"]).await,
            house.enrol("b", &["client"]).await,
        ];
        house
            .bind("a", &ExternalIdentity::Spiffe(A.parse().unwrap()))
            .await;
        let fixture = Self {
            house,
            authority: Authority::new("clients"),
            folder: tempfile::tempdir().unwrap(),
            keys,
        };
        fixture.write("ca.pem", fixture.authority.pem());
        fixture
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn file(&self, name: &str) -> String {
        format!("file:{}", self.folder.path().join(name).display())
    }

    async fn serve(&self, over: Value) -> Running {
        let mut mtls = json!({"ca": self.file("ca.pem")});
        for (name, value) in over.as_object().unwrap() {
            mtls[name] = value.clone();
        }
        self.house.serve(json!({"identity": {"mtls": mtls}})).await
    }

    fn certificate(&self) -> Certified {
        self.authority.issue(&Wanted::uris(&[A]))
    }
}

/// The status of one request over a new connection; `None` where there is no connection.
async fn status(client: &Client, certificate: Option<&Certified>, key: Option<&str>) -> Option<u16> {
    let client = certificate.map_or_else(|| client.clone(), |own| client.with_certificate(own));
    let stream = client.tls(b"http/1.1", &[&rustls::version::TLS13]).await.ok()?;
    let mut connection = Connection::over(stream).await;
    // TLS 1.3: a client learns that its certificate was refused with the first byte that it reads.
    Some(connection.try_send("GET", MODEL, key).await?.status)
}

async fn ask(connection: &mut Connection, key: Option<&str>) -> u16 {
    connection.send("GET", MODEL, key, Bytes::new()).await.status
}

/// Asks over an open connection until the answer has this status.
async fn until(connection: &mut Connection, key: Option<&str>, expected: u16) {
    for _ in 0..200 {
        if ask(connection, key).await == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the status never became {expected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_identifies_alone_and_beside_a_key() {
    let fixture = Fixture::new().await;
    let running = fixture.serve(json!({})).await;
    let (own, [a, b]) = (fixture.certificate(), &fixture.keys);
    let client = &running.client;
    assert_eq!(status(client, Some(&own), None).await, Some(200));
    assert_eq!(status(client, Some(&own), Some(a)).await, Some(200));
    assert_eq!(status(client, None, Some(b)).await, Some(200));
    assert_eq!(status(client, None, None).await, Some(401));
    assert_eq!(
        status(client, Some(&own), Some(b)).await,
        Some(401),
        "two principals"
    );
    assert_eq!(
        status(client, Some(&own), Some("wrong")).await,
        Some(401),
        "a bad key"
    );
    let (reply, _) = client
        .with_certificate(&own)
        .over_http2("GET", MODEL, None, Bytes::new())
        .await;
    assert_eq!(reply.status, 200);
    running.stop().await;
    let ways: Vec<Value> = fixture
        .house
        .records(Event::RequestAdmitted)
        .await
        .iter()
        .map(|record| record.details["identified_by"].clone())
        .collect();
    assert_eq!(ways, ["mtls", "mtls+api_key", "api_key", "mtls"].map(Value::from));
    let refused = serde_json::to_string(&fixture.house.records(Event::RequestsRefused).await).unwrap();
    assert!(
        refused.contains("other_principal") && !refused.contains("spiffe"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_certificates_that_name_nobody() {
    let fixture = Fixture::new().await;
    let running = fixture.serve(json!({})).await;
    let (client, key) = (&running.client, Some(fixture.keys[0].as_str()));
    let issue = |uris: &[&str]| fixture.authority.issue(&Wanted::uris(uris));
    for (uris, why) in [
        (&[A, "spiffe://example.org/b"][..], "two URI names"),
        (&[A, "https://example.org/"], "another URI beside it"),
        (&[], "a common name alone"),
        (&["https://example.org/a"], "no SPIFFE ID"),
        (&["spiffe://example.org"], "a trust domain alone"),
        (&["spiffe://example.org/unknown"], "nobody is bound to it"),
    ] {
        let own = issue(uris);
        assert_eq!(status(client, Some(&own), None).await, Some(401), "{why}");
        assert_eq!(
            status(client, Some(&own), key).await,
            Some(401),
            "{why}, with a good key"
        );
    }
    let foreign = Authority::new("clients").issue(&Wanted::uris(&[A]));
    let past = Wanted {
        from_s: -120,
        to_s: -60,
        ..Wanted::uris(&[A])
    };
    let future = Wanted {
        from_s: 600,
        ..Wanted::uris(&[A])
    };
    for own in [
        foreign,
        fixture.authority.issue(&past),
        fixture.authority.issue(&future),
    ] {
        assert_eq!(status(client, Some(&own), key).await, None);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn required_certificates_are_required() {
    let fixture = Fixture::new().await;
    let house = &fixture.house;
    let config = json!({"identity": {"mtls": {"ca": fixture.file("ca.pem"), "required": true}}});
    let running = house.serve_as(config, &fixture.certificate()).await;
    let bare = Client::new(&running.bound.gateway_url, &house.authority());
    assert_eq!(status(&bare, None, Some(&fixture.keys[0])).await, None);
    assert_eq!(status(&running.client, None, None).await, Some(200));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_names_identify_where_configured() {
    let fixture = Fixture::new().await;
    let name = ExternalIdentity::Dns("a.example.org".parse().unwrap());
    fixture.house.bind("b", &name).await;
    let running = fixture.serve(json!({"identity": "dns"})).await;
    let issue = |dns: &[&str]| {
        fixture.authority.issue(&Wanted {
            dns,
            ..Wanted::uris(&[])
        })
    };
    assert_eq!(
        status(&running.client, Some(&issue(&["a.example.org"])), None).await,
        Some(200)
    );
    for dns in [&["a.example.org", "b.example.org"][..], &["*.example.org"], &[]] {
        assert_eq!(
            status(&running.client, Some(&issue(dns)), None).await,
            Some(401),
            "{dns:?}"
        );
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expiry_authorities_and_revocation_bind_on_an_open_connection() {
    let fixture = Fixture::new().await;
    fixture.write("crl.pem", &fixture.authority.revoking(&[]));
    let running = fixture.serve(json!({"crl": fixture.file("crl.pem")})).await;
    let short = fixture.authority.issue(&Wanted {
        to_s: 3,
        ..Wanted::uris(&[A])
    });
    let long = fixture.certificate();
    let mut expiring = running.client.with_certificate(&short).connect().await;
    let mut revoked = running.client.with_certificate(&long).connect().await;
    let mut bystander = running.client.connect().await;
    let key = Some(fixture.keys[1].as_str());
    assert_eq!(
        (ask(&mut expiring, None).await, ask(&mut revoked, None).await),
        (200, 200)
    );
    until(&mut expiring, None, 401).await;
    assert_eq!(ask(&mut revoked, None).await, 200);
    fixture.write("crl.pem", &fixture.authority.revoking(&[&long]));
    until(&mut revoked, None, 401).await;
    assert_eq!(status(&running.client, Some(&long), None).await, None);

    let other = Authority::new("other");
    let (old, new) = (fixture.certificate(), other.issue(&Wanted::uris(&[A])));
    let mut left = running.client.with_certificate(&old).connect().await;
    assert_eq!(ask(&mut left, None).await, 200);
    fixture.write(
        "crl.pem",
        &(fixture.authority.revoking(&[]) + &other.revoking(&[])),
    );
    fixture.write("ca.pem", "no certificate");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(ask(&mut left, None).await, 200, "a broken file changes nothing");
    fixture.write("ca.pem", other.pem());
    until(&mut left, None, 401).await;
    assert_eq!(status(&running.client, Some(&new), None).await, Some(200));
    assert_eq!(ask(&mut bystander, key).await, 200, "nobody else was dropped");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_certificate_reloads_without_a_drop() {
    let fixture = Fixture::new().await;
    let served = |name: &str| {
        let authority = Authority::new(name);
        let leaf = authority.issue(&Wanted {
            dns: &["127.0.0.1"],
            ..Wanted::uris(&[])
        });
        (authority.der().to_vec(), leaf)
    };
    let ((first_ca, first), (second_ca, second)) = (served("first"), served("second"));
    fixture.write("tls.pem", &first.pem);
    fixture.write("tls.key", &first.key_pem);
    let files = json!({"certificate": fixture.file("tls.pem"), "key": fixture.file("tls.key")});
    let running = fixture
        .house
        .serve_trusting(json!({"tls": files}), &first_ca)
        .await;
    let mut open = running.client.connect().await;
    let key = Some(fixture.keys[1].as_str());
    assert_eq!(ask(&mut open, key).await, 200);
    let sees =
        async |authority: &[u8]| status(&running.client.trusting(authority), None, key).await == Some(200);
    // A certificate without its key is no pair: the old one stays until both are there.
    fixture.write("tls.pem", &second.pem);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(sees(&first_ca).await && !sees(&second_ca).await);
    fixture.write("tls.key", &second.key_pem);
    for _ in 0..100 {
        if sees(&second_ca).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(sees(&second_ca).await && !sees(&first_ca).await);
    assert_eq!(ask(&mut open, key).await, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_trusted_opens_no_port() {
    let fixture = Fixture::new().await;
    let leaf = fixture.certificate();
    fixture.write("tls.pem", &leaf.pem);
    fixture.write("tls.key", &leaf.key_pem);
    let open = Path::new(fixture.folder.path()).join("tls.key");
    fs::set_permissions(open, fs::Permissions::from_mode(0o644)).unwrap();
    for (config, hint) in [
        (
            json!({"identity": {"mtls": {"ca": fixture.file("missing.pem")}}}),
            "missing.pem",
        ),
        (
            json!({"identity": {"mtls": {"ca": fixture.file("tls.key")}}}),
            "cannot be used",
        ),
        (
            json!({"tls": {"certificate": fixture.file("tls.pem"), "key": fixture.file("tls.key")}}),
            "chmod 600",
        ),
    ] {
        let error = fixture.house.bind_error(config).await;
        assert!(error.contains(hint), "{error}");
    }
}
