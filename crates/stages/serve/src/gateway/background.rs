//! What goes on beside requests until the gateway stops.

use std::{sync::Arc, time::Duration};

use stockade_store::Station;
use tokio_util::sync::CancellationToken;

use crate::{desk::Desk, identity, merged, shared::Shared, tls::Leaf};

/// How often certificates are looked at.
const RENEW_EVERY: Duration = Duration::from_secs(60);
/// Pause before principals and keys are read again after that failed.
const READ_AGAIN: Duration = Duration::from_millis(200);

/// Takes changes of principals and keys over as soon as they are applied.
pub(super) async fn follow_changes(shared: Arc<Shared>, stop: CancellationToken) {
    let mut changes = shared.keeper.changes();
    let mut failing = false;
    loop {
        if let Err(error) = shared.standings.refresh(&shared.keeper).await {
            tracing::error!(%error, "the former standings of clients go on binding");
            if stop
                .run_until_cancelled(tokio::time::sleep(READ_AGAIN))
                .await
                .is_none()
            {
                return;
            }
            // Principals and keys are read again meanwhile: what cannot be read there binds at once.
            let _ = shared.access.refresh().await;
            continue;
        }
        let refreshed = shared.access.refresh().await;
        let failed_before = std::mem::replace(&mut failing, refreshed.is_err());
        if let Err(error) = refreshed {
            // `Access` accepts no key until it could read again.
            if !failed_before {
                tracing::error!(%error, "principals and keys could not be read");
            }
            if stop
                .run_until_cancelled(tokio::time::sleep(READ_AGAIN))
                .await
                .is_none()
            {
                return;
            }
            continue;
        }
        if failed_before {
            tracing::info!("principals and keys can be read again");
        }
        match stop.run_until_cancelled(changes.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return,
        }
    }
}

/// Renews the leaf certificates, under the authority now in the key provider: it may have been rotated.
pub(super) async fn renew(shared: Arc<Shared>, leaves: Vec<Arc<Leaf>>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(RENEW_EVERY))
        .await
        .is_some()
    {
        for leaf in &leaves {
            let now = shared.keeper.now();
            let renewed = match (&shared.desk, &shared.keeper) {
                (Desk::Here(_), Station::Local(keeper))
                    if let Ok(authority) = keeper.keys().certificate_authority() =>
                {
                    leaf.renew(&authority, now)
                }
                (Desk::Here(first), Station::Local(_) | Station::Worker(_)) => leaf.renew(first, now),
                (Desk::Keeper(link), Station::Local(_) | Station::Worker(_)) => {
                    leaf.renew_at(link, now).await
                }
            };
            match renewed {
                Ok(false) => {}
                Ok(true) => tracing::info!("a server certificate was renewed"),
                Err(error) => tracing::error!(%error, "a server certificate could not be renewed"),
            }
        }
    }
}

/// Follows the keys of token issuers and the authorities of client certificates.
pub(super) async fn follow_identities(shared: Arc<Shared>, stop: CancellationToken) {
    shared.identification.follow(stop).await;
}

/// Takes server certificates over that come from files, when the files change.
pub(super) async fn follow_certificates(leaves: Vec<Arc<Leaf>>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(identity::LOOK_EVERY))
        .await
        .is_some()
    {
        for leaf in &leaves {
            match leaf.reload() {
                Ok(false) => {}
                Ok(true) => tracing::info!("a server certificate was read again"),
                Err(error) => tracing::error!(%error, "the server certificate stays as it was"),
            }
        }
    }
}

pub(super) async fn flush_merged(shared: Arc<Shared>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(merged::WINDOW))
        .await
        .is_some()
    {
        shared.recorder.merged(&shared.merged).await;
    }
}
