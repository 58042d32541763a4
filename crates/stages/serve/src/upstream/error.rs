//! Why an upstream, or a model in one, cannot be served as configured.

/// What is wrong with an upstream or with a model that names one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UpstreamError {
    /// Two upstreams have one name.
    #[error("two upstreams are named `{upstream}`\nhint: further servers of one upstream are its `replicas`")]
    Duplicate {
        /// The name.
        upstream: String,
    },
    /// One server twice.
    #[error("the upstream `{upstream}` names `{url}` twice\nhint: `replicas` are the servers besides `url`")]
    SameReplica {
        /// The upstream.
        upstream: String,
        /// The server.
        url: String,
    },
    /// Plaintext that was not asked for.
    #[error(
        "the upstream `{upstream}` has the URL `{url}`, which is without TLS\nhint: use `https://`, or set `dangerous_plaintext = true` for a server on this machine"
    )]
    Plaintext {
        /// The upstream.
        upstream: String,
        /// The server.
        url: String,
    },
    /// Plaintext to another machine.
    #[error(
        "`dangerous_plaintext` is allowed on loopback only, and the upstream `{upstream}` has the URL `{url}`\nhint: use `https://`, with `ca` where the server's authority is your own"
    )]
    PlaintextBeyondLoopback {
        /// The upstream.
        upstream: String,
        /// The server.
        url: String,
    },
    /// Plaintext that is not used.
    #[error("the upstream `{upstream}` sets `dangerous_plaintext` and has no `http://` URL\nhint: remove it")]
    NeedlessPlaintext {
        /// The upstream.
        upstream: String,
    },
    /// A file, a variable or what it holds cannot be used.
    #[error("`{setting}` of the upstream `{upstream}` is `{reference}`, {problem}")]
    Reference {
        /// The upstream.
        upstream: String,
        /// `ca` or `bearer`.
        setting: &'static str,
        /// Where it was to be found.
        reference: String,
        /// What is wrong, and the cure.
        problem: String,
    },
    /// No authority to trust.
    #[error(
        "the upstream `{upstream}` needs a certificate authority, and this machine has no list of them\nhint: name one with `ca = \"file:/path/ca.pem\"`, or install the package `ca-certificates`"
    )]
    NoAuthorities {
        /// The upstream.
        upstream: String,
    },
    /// A host that no certificate can name.
    #[error(
        "the upstream `{upstream}` has the URL `{url}`, whose host no certificate can name\nhint: use a host name or an address"
    )]
    Host {
        /// The upstream.
        upstream: String,
        /// The server.
        url: String,
    },
    /// A source that is none.
    #[error(
        "the model `{model}` has the source `{source_text}`\nhint: write it as `upstream:NAME/MODEL`, or `upstream:NAME/MODEL@VERSION` with a whole number"
    )]
    Source {
        /// The model.
        model: String,
        /// Its source.
        source_text: String,
    },
    /// A source in an upstream that is not there.
    #[error("the model `{model}` is in the upstream `{upstream}`, which is not configured\nhint: {known}")]
    Unknown {
        /// The model.
        model: String,
        /// The name.
        upstream: String,
        /// Those that are.
        known: String,
    },
    /// Declared tensors of a model that declares its own.
    #[error(
        "the model `{model}` comes from the vault, which knows its tensors\nhint: remove `inputs` and `outputs`"
    )]
    NeedlessDeclaration {
        /// The model.
        model: String,
    },
    /// A declaration that says too little or nonsense.
    #[error("the model `{model}` declares {problem}")]
    Declaration {
        /// The model.
        model: String,
        /// What is wrong, and the cure.
        problem: &'static str,
    },
}
