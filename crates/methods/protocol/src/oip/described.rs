//! What another server says of itself and of its models, read within bounds.

use serde::Deserialize;

use super::{BodyLimits, ModelMetadata, ServerMetadata, TensorMetadata};
use crate::WireType;
use crate::body_error::{BodyError, Place, Reason};

/// Reads the answer to `GET /v2`.
pub fn parse_server_metadata(body: &[u8], limits: &BodyLimits) -> Result<ServerMetadata, BodyError> {
    let server: Server = limits.read_json(body)?;
    Ok(ServerMetadata {
        name: server.name,
        version: server.version,
        extensions: server.extensions,
    })
}

/// Reads the answer to `GET /v2/models/{model}`. Some servers know no tensors of their models: a list may be empty.
pub fn parse_model_metadata(body: &[u8], limits: &BodyLimits) -> Result<ModelMetadata, BodyError> {
    let model: Model = limits.read_json(body)?;
    Ok(ModelMetadata {
        name: model.name,
        versions: model.versions.unwrap_or_default(),
        platform: model.platform,
        inputs: tensors(model.inputs, "inputs", limits).map_err(BodyError::new)?,
        outputs: tensors(model.outputs, "outputs", limits).map_err(BodyError::new)?,
    })
}

fn tensors(
    list: Option<Vec<Tensor>>,
    field: &'static str,
    limits: &BodyLimits,
) -> Result<Vec<TensorMetadata>, Reason> {
    let (list, limit) = (list.unwrap_or_default(), limits.max_tensors);
    if list.len() > limit {
        let (at, what) = (Place::field(field), "tensors");
        return Err(Reason::TooMany { at, what, limit });
    }
    let tensor = |(position, tensor): (usize, Tensor)| {
        let at = Place::entry(field, position);
        let (what, limit) = ("dimensions", limits.max_dimensions);
        if tensor.shape.len() > limit {
            let at = at.at("shape");
            return Err(Reason::TooMany { at, what, limit });
        }
        let (what, limit) = ("a name", limits.max_name_bytes);
        if tensor.name.len() > limit {
            return Err(Reason::TooLong { at, what, limit });
        }
        let datatype = WireType::parse(&tensor.datatype);
        Ok(TensorMetadata {
            name: tensor.name,
            datatype: datatype.ok_or(Reason::UnknownDatatype {
                at: at.at("datatype"),
            })?,
            shape: tensor.shape,
            labels: Vec::new(),
        })
    };
    list.into_iter().enumerate().map(tensor).collect()
}

#[derive(Deserialize)]
struct Server {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    extensions: Vec<String>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
    #[serde(default)]
    versions: Option<Vec<String>>,
    #[serde(default)]
    platform: String,
    #[serde(default)]
    inputs: Option<Vec<Tensor>>,
    #[serde(default)]
    outputs: Option<Vec<Tensor>>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_read_within_bounds() {
        let limits = BodyLimits::default();
        let body = br#"{"name":"mlserver","version":"1.7.1","extensions":["binary_tensor_data"]}"#;
        assert_eq!(
            parse_server_metadata(body, &limits).unwrap().extensions,
            ["binary_tensor_data"]
        );
        let model = |inputs: &str| {
            format!(r#"{{"name":"m","versions":null,"platform":"","inputs":{inputs},"x":[1]}}"#)
        };
        let read = |inputs: &str| parse_model_metadata(model(inputs).as_bytes(), &limits);
        let known =
            read(r#"[{"name":"x","datatype":"FP32","shape":[-1,4],"parameters":{"content_type":"np"}}]"#);
        assert_eq!(known.unwrap().inputs[0].shape, [-1, 4]);
        assert!(read("null").unwrap().inputs.is_empty());
        let many = format!(
            "[{}]",
            vec![r#"{"name":"x","datatype":"FP32","shape":[1]}"#; 65].join(",")
        );
        let long = format!(
            r#"[{{"name":"{}","datatype":"FP32","shape":[1]}}]"#,
            "n".repeat(257)
        );
        let deep = format!(
            r#"[{{"name":"x","datatype":"FP32","shape":[{}1]}}]"#,
            "1,".repeat(16)
        );
        let bad = [
            r#"[{"name":"x","datatype":"FP33","shape":[1]}]"#,
            "[{}]",
            "1",
            &many,
            &long,
            &deep,
        ];
        for inputs in bad {
            assert!(read(inputs).is_err(), "{inputs}");
        }
    }
}
