//! Settings that bind at start: a reload keeps their values and says which of them it found changed.

use crate::{
    config::Config,
    models::ModelSet,
    snapshot::{ConfigError, Snapshot},
};

/// The snapshot of `new` with the values of `live` where only a restart changes them; their names go to `changed`.
/// What a restart would refuse is refused now.
pub(super) fn prepare(
    live: &Snapshot,
    mut new: Config,
    models: &ModelSet,
    changed: &mut Vec<String>,
) -> Result<Snapshot, ConfigError> {
    new.check(models)?;
    let old = &live.config;
    let mut note = |name: &str, is_changed| {
        if is_changed {
            changed.push(name.to_owned());
        }
    };
    note("listen", keep(&old.listen, &mut new.listen));
    note("grpc_listen", keep(&old.grpc_listen, &mut new.grpc_listen));
    note("admin_listen", keep(&old.admin_listen, &mut new.admin_listen));
    note("hosts", keep(&old.hosts, &mut new.hosts));
    note(
        "dangerous_plaintext",
        keep(&old.dangerous_plaintext, &mut new.dangerous_plaintext),
    );
    note("tls", keep(&old.tls, &mut new.tls));
    note("identity", keep(&old.identity, &mut new.identity));
    // A worker has given up loading libraries by the time it serves.
    note("engine", keep(&old.engine, &mut new.engine));
    let (before, after) = (&old.limits, &mut new.limits);
    note(
        "limits.max_connections",
        keep(&before.max_connections, &mut after.max_connections),
    );
    note(
        "limits.max_connections_per_source",
        keep(
            &before.max_connections_per_source,
            &mut after.max_connections_per_source,
        ),
    );
    note("limits.workers", keep(&before.workers, &mut after.workers));
    note(
        "limits.max_queued",
        keep(&before.max_queued, &mut after.max_queued),
    );
    note(
        "limits.max_concurrent_per_principal",
        keep(
            &before.max_concurrent_per_principal,
            &mut after.max_concurrent_per_principal,
        ),
    );
    let (before, after) = (&old.bodies, &mut new.bodies);
    note(
        "bodies.max_bytes_per_principal",
        keep(
            &before.max_bytes_per_principal,
            &mut after.max_bytes_per_principal,
        ),
    );
    note(
        "bodies.max_bytes_in_all",
        keep(&before.max_bytes_in_all, &mut after.max_bytes_in_all),
    );
    Snapshot::new(new, models, Some(live))
}

/// Puts the old value back; says whether there was another.
fn keep<T: Clone + PartialEq>(old: &T, new: &mut T) -> bool {
    let changed = *old != *new;
    new.clone_from(old);
    changed
}
