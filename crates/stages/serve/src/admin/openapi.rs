//! The admin API's description, OpenAPI 3.1.

use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{keys, state};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Stockade admin API",
        description = "State, metrics, keys and log of a gateway. Every call needs a key and is recorded. Errors are `{\"error\",\"code\",\"request_id\"}`."
    ),
    paths(
        state::metrics,
        state::openapi,
        state::status,
        state::models,
        state::log_checkpoint,
        keys::principals,
        keys::list,
        keys::create,
        keys::revoke,
        keys::rotate,
    ),
    modifiers(&BearerKey)
)]
struct AdminApi;

struct BearerKey;

impl Modify for BearerKey {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("key", scheme);
    }
}

/// The admin API as an OpenAPI 3.1 document, indented, with a line break at its end.
pub fn openapi_json() -> String {
    let mut text = AdminApi::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::admin::routes::ROUTES;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document: serde_json::Value = serde_json::from_str(&openapi_json()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let described: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                methods
                    .as_object()
                    .unwrap()
                    .keys()
                    .map(move |method| (method.to_uppercase(), path.clone()))
            })
            .collect();
        let served = ROUTES
            .iter()
            .map(|route| (route.method.to_owned(), route.path.to_owned()))
            .collect();
        assert_eq!(described, served);
    }

    /// `UPDATE_EXPECT=1` writes the document.
    #[test]
    fn the_committed_document_is_current() {
        expect_test::expect_file!["../../../../../docs/openapi.json"].assert_eq(&openapi_json());
    }
}
