//! Who may do what: principals, API keys, roles, Cedar policies, environments.
