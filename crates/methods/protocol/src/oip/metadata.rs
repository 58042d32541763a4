//! The answers that say what is served: liveness, readiness, server and model metadata.

use serde::Serialize;

use crate::WireType;

/// `GET /v2/health/live`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ServerLive {
    /// Whether the server takes requests.
    pub live: bool,
}

/// `GET /v2/health/ready`; the specification's text says `live` here, its OpenAPI file `ready`: both are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerReady {
    /// Whether all models can answer.
    pub ready: bool,
}

impl Serialize for ServerReady {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([("live", self.ready), ("ready", self.ready)])
    }
}

/// `GET /v2/models/{model}/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelReady {
    /// The model's name.
    pub name: String,
    /// Whether it can answer.
    pub ready: bool,
}

/// `GET /v2`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerMetadata {
    /// What the server calls itself.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The extensions it speaks.
    pub extensions: Vec<String>,
}

/// `GET /v2/models/{model}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelMetadata {
    /// The model's name.
    pub name: String,
    /// The versions that a path may name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// The model's format.
    pub platform: String,
    /// What the model takes.
    pub inputs: Vec<TensorMetadata>,
    /// What it gives.
    pub outputs: Vec<TensorMetadata>,
}

/// One input or output in [`ModelMetadata`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorMetadata {
    /// The tensor's name.
    pub name: String,
    /// Its element type.
    pub datatype: WireType,
    /// Its shape; -1 where the size varies.
    pub shape: Vec<i64>,
    /// For a classifier's output: what each score stands for, in order. Not in the specification; clients pass over it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
}

/// A class of a classifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Label {
    /// A number.
    Integer(i64),
    /// A text.
    Text(String),
}

macro_rules! to_json {
    ($($answer:ty),*) => {$(
        impl $answer {
            /// The answer's body.
            #[must_use]
            pub fn to_json(&self) -> Vec<u8> {
                let mut body = Vec::new();
                super::push_json(&mut body, self);
                body
            }
        }
    )*};
}

to_json!(ServerLive, ServerReady, ModelReady, ServerMetadata, ModelMetadata);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: Vec<u8>, expected: &str) {
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }

    #[test]
    fn shapes_of_the_specification() {
        check(ServerLive { live: true }.to_json(), r#"{"live":true}"#);
        check(
            ServerReady { ready: false }.to_json(),
            r#"{"live":false,"ready":false}"#,
        );
        check(
            ModelReady {
                name: "m".into(),
                ready: true,
            }
            .to_json(),
            r#"{"name":"m","ready":true}"#,
        );
        let server = ServerMetadata {
            name: "s".into(),
            version: "1".into(),
            extensions: vec![],
        };
        check(server.to_json(), r#"{"name":"s","version":"1","extensions":[]}"#);
        let tensor = |labels| TensorMetadata {
            name: "t".into(),
            datatype: WireType::F32,
            shape: vec![-1, 64],
            labels,
        };
        let model = ModelMetadata {
            name: "m".into(),
            versions: vec!["1".into()],
            platform: "onnx".into(),
            inputs: vec![tensor(vec![])],
            outputs: vec![tensor(vec![Label::Integer(0), Label::Text("cat".into())])],
        };
        check(
            model.to_json(),
            concat!(
                r#"{"name":"m","versions":["1"],"platform":"onnx","#,
                r#""inputs":[{"name":"t","datatype":"FP32","shape":[-1,64]}],"#,
                r#""outputs":[{"name":"t","datatype":"FP32","shape":[-1,64],"labels":[0,"cat"]}]}"#
            ),
        );
    }
}
