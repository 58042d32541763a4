//! `stockade up`: from nothing to a protected, answering example; again on the same folder it continues.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;
use stockade_access::{
    Access, Environment, NewKey, NewPrincipal, PrincipalId, PrincipalKind, Role, create_key, create_principal,
};
use stockade_artifact::SourceFile;
use stockade_evidence::{Actor, DigestAlgorithm};
use stockade_store::Handle;

use super::{
    init,
    serve::{self, Ready},
};
use crate::{
    cli::Global,
    clock, config, example,
    failure::{Exit, Failing as _, Failure},
    output::Output,
    private_files,
    project::{self, Project},
};

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stockade up --dir demo --listen 127.0.0.1:8443")]
#[group(skip)]
pub(crate) struct Arguments {
    #[command(flatten)]
    serve: serve::Arguments,
}

/// The principals that `up` makes, their role, and where their key lies in the project folder.
const PRINCIPALS: [(&str, &str); 2] = [("admin", "admin"), ("client", "client")];

pub(crate) async fn run(global: &Global, arguments: Arguments, output: &Output) -> Result<Exit, Failure> {
    if !project::exists(&global.dir)? {
        init::create(&global.dir, None)?;
    }
    let flags = arguments.serve.listen.settings();
    let project = Project::find(global, &flags)?;
    let keeper = serve::own(&project, &arguments.serve).await?;
    // Nothing of the user's is touched before its configuration was read and the folder is ours.
    configure_example(&project)?;
    let project = Project::find(global, &flags)?;
    let handle = Handle::Local(keeper.clone());
    let keys = issue_keys(project.path(), &handle).await?;
    seal_example(&project, &handle).await?;
    let model = served(&project)?;
    let request = project.path().join("example/request.json");
    let ready = {
        let (client, admin) = (keys.client.clone(), keys.admin.clone());
        |bound: &stockade_serve::Bound, ca_cert: PathBuf| Ready {
            gateway_url: bound.gateway_url.clone(),
            grpc_url: bound.grpc_url.clone(),
            admin_url: bound.admin_url.clone(),
            ca_cert,
            client_key_file: Some(client),
            admin_key_file: Some(admin),
            model: Some(model),
        }
    };
    drop(handle);
    let dir = project.path().to_owned();
    Box::pin(serve::serve(
        global,
        &arguments.serve,
        &project,
        keeper,
        ready,
        |ready| output.result(ready, || next_steps(ready, &dir, &request)),
    ))
    .await
}

/// The model to be shown: the example, or the first that the user's own configuration names.
fn served(project: &Project) -> Result<String, Failure> {
    let models = &project.loaded.root.model;
    let example = models.get_key_value(example::NAME);
    let named = example
        .or_else(|| models.first_key_value())
        .map(|(name, _)| name.clone());
    named.ok_or_else(|| {
        Failure::new(Exit::Usage, "the configuration names no model")
            .hint("add `[model.NAME]`, or remove the file")
    })
}

/// Names the example in the configuration, unless the user's file names models already.
fn configure_example(project: &Project) -> Result<(), Failure> {
    if project.loaded.root.model.is_empty() {
        let name = example::NAME;
        let model = format!("\n[model.{name}]\nsource = \"vault:{name}@1\"\nenvironment = \"prod\"\n");
        let path = project.path().join(config::FILE);
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut file| file.write_all(model.as_bytes()))
            .map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    format!("cannot write `{}`: {error}", path.display()),
                )
            })?;
    }
    let folder = project.path().join("example");
    std::fs::create_dir_all(&folder).exit(Exit::Failed)?;
    let request = folder.join("request.json");
    if request.exists() {
        Ok(())
    } else {
        std::fs::write(request, example::REQUEST).exit(Exit::Failed)
    }
}

struct IssuedKeys {
    admin: PathBuf,
    client: PathBuf,
}

/// Makes the admin and the client, and a key for each whose file is absent or holds no valid key any more.
async fn issue_keys(dir: &Path, handle: &Handle) -> Result<IssuedKeys, Failure> {
    let folder = dir.join("keys");
    private_files::create_folder(&folder)?;
    let mut files = Vec::new();
    for (name, role) in PRINCIPALS {
        let file = folder.join(format!("{name}.key"));
        let id = name.parse::<PrincipalId>().exit(Exit::Failed)?;
        let now = clock::now();
        ensure_principal(handle, &id, role).await?;
        let access = Access::new(handle.clone(), project::read_policies(dir)?)
            .await
            .exit(Exit::Failed)?;
        let valid = match private_files::read_secret(&file) {
            Ok(text) if !text.starts_with("stk_") => {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("`{}` holds something else than a key", file.display()),
                )
                .hint("move it away; `up` keeps its keys there"));
            }
            Ok(text) => access
                .authenticate(&text, now)
                .is_ok_and(|identity| identity.principal.id == id),
            Err(_) if !file.exists() => false,
            Err(failure) => return Err(failure),
        };
        if !valid {
            let key = NewKey {
                principal: id,
                expires_at: None,
            };
            let (secret, _) = create_key(handle, &Actor::System {}, key, now)
                .await
                .exit(Exit::Failed)?;
            private_files::write(&file, secret.expose().as_bytes())?;
        }
        files.push(file.canonicalize().exit(Exit::Failed)?);
    }
    match <[PathBuf; 2]>::try_from(files) {
        Ok([admin, client]) => Ok(IssuedKeys { admin, client }),
        Err(_) => Err(Failure::new(Exit::Failed, "two keys were expected")),
    }
}

async fn ensure_principal(handle: &Handle, id: &PrincipalId, role: &str) -> Result<(), Failure> {
    if handle
        .row("principal", id.as_str())
        .await
        .exit(Exit::Failed)?
        .is_some()
    {
        return Ok(());
    }
    let new = NewPrincipal {
        id: id.clone(),
        kind: PrincipalKind::Workload,
        roles: [role.parse::<Role>().exit(Exit::Failed)?].into(),
        environment: Environment::Prod,
        display_name: None,
        email: None,
        identity: None,
    };
    create_principal(handle, &Actor::System {}, new, clock::now())
        .await
        .exit(Exit::Failed)?;
    Ok(())
}

/// Seals the embedded model, unless the vault has it.
async fn seal_example(project: &Project, handle: &Handle) -> Result<(), Failure> {
    let vault = project.vault(handle)?;
    if vault
        .catalog()
        .list()
        .await
        .exit(Exit::Failed)?
        .iter()
        .any(|artifact| artifact.name.as_str() == example::NAME)
    {
        return Ok(());
    }
    let local = project.state.state().join("example.onnx.part");
    private_files::write(&local, example::MODEL)?;
    let name = example::NAME.parse().exit(Exit::Failed)?;
    let path_in_artifact = "digits.onnx".parse().exit(Exit::Failed)?;
    let files = [SourceFile {
        path_in_artifact,
        local: local.clone(),
    }];
    vault
        .seal(
            &Actor::System {},
            &name,
            &files,
            DigestAlgorithm::Sha256,
            clock::now(),
            None,
        )
        .await
        .exit(Exit::Failed)?;
    // What is sealed does not lie beside the vault in the clear.
    std::fs::remove_file(&local).exit(Exit::Failed)
}

fn next_steps(ready: &Ready, dir: &Path, request: &Path) -> String {
    let url = &ready.gateway_url;
    let model = ready.model.as_deref().unwrap_or_default();
    let key = ready.client_key_file.as_deref().unwrap_or(dir).display();
    let what = if model == example::NAME {
        "The image is a seven: the eighth of the ten probabilities is the largest."
    } else {
        "That request is for the example; write one for your model."
    };
    let mut text = format!(
        "Stockade protects `{model}` at {url} (gRPC at {}, admin at {}).\n\n",
        ready.grpc_url, ready.admin_url
    );
    let _ = write!(
        text,
        "Ask for a prediction, from another terminal:\n\n  \
         printf 'header = \"Authorization: Bearer %s\"\\n' \"$(cat '{key}')\" | curl -K - \\\n    \
         --cacert '{ca}' -d @'{request}' {url}/v2/models/{model}/infer\n\n\
         {what}\n\n\
         See that every decision is in the log, and that nobody changed it:\n\n  \
         stockade log verify --dir '{dir}'\n\n\
         Ctrl-C stops it. No recovery passphrase is set: `stockade keys set-recovery --dir '{dir}'` sets one.",
        ca = ready.ca_cert.display(),
        request = request.display(),
        dir = dir.display(),
    );
    text
}
