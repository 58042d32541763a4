//! The three listeners, open before anything is served on them; a worker gets them from whoever opened them.

use std::net::{SocketAddr, TcpListener};

use super::{BindError, Bound};
use crate::{config::Config, tls};

/// The gateway's listener, that for gRPC, and the admin listener.
#[derive(Debug)]
pub struct Listeners {
    pub(super) gateway: Listener,
    pub(super) grpc: Listener,
    pub(super) admin: Listener,
    plaintext: bool,
}

/// A socket that listens, and the hosts that its certificate covers.
#[derive(Debug)]
pub(super) struct Listener(pub(super) TcpListener, Vec<String>);

impl Listeners {
    /// Opens what the configuration names.
    pub fn open(config: &Config) -> Result<Self, BindError> {
        let addresses = [config.listen, config.grpc_listen, config.admin_listen];
        let [gateway, grpc, admin] = addresses.map(open);
        Ok(Self::of(config, [gateway?, grpc?, admin?]))
    }

    /// Those that were opened for this configuration, in the order of its addresses.
    pub fn of(config: &Config, sockets: [TcpListener; 3]) -> Self {
        let addresses = [config.listen, config.grpc_listen, config.admin_listen];
        let [gateway, grpc, admin] = sockets;
        let [of_gateway, of_grpc, of_admin] = addresses.map(|listen| tls::hosts(listen, &config.hosts));
        Self {
            gateway: Listener(gateway, of_gateway),
            grpc: Listener(grpc, of_grpc),
            admin: Listener(admin, of_admin),
            plaintext: config.dangerous_plaintext,
        }
    }

    /// The sockets, in the order of the configuration's addresses.
    pub const fn sockets(&self) -> [&TcpListener; 3] {
        [&self.gateway.0, &self.grpc.0, &self.admin.0]
    }

    /// The hosts of each listener's certificate.
    pub(crate) fn hosts(&self) -> [Vec<String>; 3] {
        [&self.gateway, &self.grpc, &self.admin].map(|listener| listener.1.clone())
    }

    /// The URLs.
    pub(super) fn bound(&self) -> Bound {
        let url = |scheme, listener: &Listener| {
            let port = listener.0.local_addr().map_or(0, |address| address.port());
            tls::url(scheme, &listener.1, port)
        };
        Bound {
            gateway_url: url(if self.plaintext { "http" } else { "https" }, &self.gateway),
            grpc_url: url("https", &self.grpc),
            admin_url: url("https", &self.admin),
        }
    }
}

fn open(listen: SocketAddr) -> Result<TcpListener, BindError> {
    let failed = |source| BindError::Listen { listen, source };
    let listener = TcpListener::bind(listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}
