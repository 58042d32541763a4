//! Frames: four bytes of length, big-endian, then as many bytes of JSON, at most 8 MiB.

use serde::{Serialize, de::DeserializeOwned};
use stockade_crypto::SecretBytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{
    ControlError,
    message::{Request, Response},
};

/// Longest body of a frame.
pub(crate) const FRAME_MAX: usize = 8 << 20;

/// Room for every message that carries a key.
const SMALL: usize = 16 << 10;

/// Writes one message. The bytes are wiped afterwards, for some messages carry keys.
pub(crate) async fn write<T: Serialize + Sync>(
    stream: &mut (impl AsyncWrite + Unpin + Send),
    message: &T,
) -> Result<(), ControlError> {
    let frame = encode(message)?;
    stream.write_all(frame.expose()).await?;
    Ok(stream.flush().await?)
}

/// Reads one message; `None` when the other end has closed between two messages.
pub(crate) async fn read<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin + Send),
) -> Result<Option<T>, ControlError> {
    read_within(stream, FRAME_MAX).await
}

/// Like [`read`], with a bound of one's own on its length.
pub(crate) async fn read_within<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin + Send),
    most: usize,
) -> Result<Option<T>, ControlError> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        other => drop(other?),
    }
    let length = body_length(length, most)?;
    // The buffer grows with what arrives, not with what was announced. Messages with keys fit in it from the start, so no
    // copy of one is left behind by growing.
    let mut body = Vec::with_capacity(SMALL);
    stream.take(length).read_to_end(&mut body).await?;
    let body = SecretBytes::new(body);
    if u64::try_from(body.len()).unwrap_or(u64::MAX) != length {
        return Err(ControlError::Malformed);
    }
    decode(body.expose()).map(Some)
}

fn body_length(length: [u8; 4], most: usize) -> Result<u64, ControlError> {
    let length = u64::from(u32::from_be_bytes(length));
    if length > most as u64 {
        Err(ControlError::Malformed)
    } else {
        Ok(length)
    }
}

pub(super) fn encode<T: Serialize>(message: &T) -> Result<SecretBytes, ControlError> {
    let mut frame = Vec::with_capacity(SMALL);
    frame.extend_from_slice(&[0; 4]);
    serde_json::to_writer(&mut frame, message).map_err(|_| ControlError::TooLarge)?;
    let length = frame.len().saturating_sub(4);
    let header = u32::try_from(length)
        .map_err(|_| ControlError::TooLarge)?
        .to_be_bytes();
    if let Some(start) = frame.first_chunk_mut() {
        *start = header;
    }
    let frame = SecretBytes::new(frame);
    if length > FRAME_MAX {
        Err(ControlError::TooLarge)
    } else {
        Ok(frame)
    }
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ControlError> {
    serde_json::from_slice(body).map_err(|_| ControlError::Malformed)
}

/// Fuzz entry: must not panic.
pub fn fuzz_control_frame(data: &[u8]) {
    let Some((length, body)) = data.split_first_chunk::<4>() else {
        return;
    };
    if body_length(*length, FRAME_MAX).is_err() {
        return;
    }
    let _ = decode::<Request>(body).map(|request| format!("{request:?}"));
    let _ = decode::<Response>(body).map(|response| format!("{response:?}"));
    let _ = decode::<(u64, Request)>(body).map(|request| format!("{request:?}"));
}
