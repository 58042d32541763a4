//! Base64 in key files, with secrets wiped on the way.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serializer, de::Error};
use zeroize::Zeroizing;

use crate::secret::SecretBytes;

pub(crate) mod base64_bytes {
    //! `Vec<u8>` as a base64 string.
    use super::*;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(|_| D::Error::custom("not base64"))
    }
}

pub(crate) mod base64_secret {
    //! [`SecretBytes`] as a base64 string; reads only from memory that the caller wipes.
    use super::*;

    pub(crate) fn serialize<S: Serializer>(secret: &SecretBytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode_secret(secret))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretBytes, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        decode_secret(text.as_bytes()).ok_or_else(|| D::Error::custom("not base64"))
    }
}

pub(crate) fn encode_secret(secret: &SecretBytes) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(secret.len().div_ceil(3) * 4));
    STANDARD.encode_string(secret.expose(), &mut text);
    text
}

pub(crate) fn decode_secret(text: &[u8]) -> Option<SecretBytes> {
    // The decoder's buffer is as long as its estimate, so it never grows and leaves no copy behind.
    let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let len = STANDARD.decode_slice(text, &mut bytes).ok()?;
    bytes.truncate(len);
    Some(SecretBytes::new(std::mem::take(&mut *bytes)))
}
