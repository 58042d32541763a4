//! Frames with descriptors between the keeper and its worker: five bytes of head, then JSON.
//!
//! The head is the body's length, big-endian, and how many descriptors came with it (unix(7), SCM_RIGHTS). A thread reads
//! and another writes, so that neither end ever waits for the other's buffer in the middle of something else.

use std::{
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Serialize, de::DeserializeOwned};
use stockade_crypto::SecretBytes;
use tokio::sync::mpsc;

const HEAD: usize = 5;
/// Longest body: configuration, policies, and the files that configuration names.
const BODY_MAX: usize = 64 << 20;
/// unix(7): SCM_MAX_FD.
pub(super) const DESCRIPTORS_MAX: usize = 253;
/// Messages that wait for the other end.
const WAITING_MAX: usize = 64;

/// A message that came.
#[derive(Debug)]
pub(super) struct Incoming {
    body: SecretBytes,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Incoming {
    /// What it says.
    pub(super) fn read<T: DeserializeOwned>(&self) -> io::Result<T> {
        serde_json::from_slice(self.body.expose()).map_err(|_| io::ErrorKind::InvalidData.into())
    }
}

/// Where messages to the other end go. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Outbox(SyncSender<(SecretBytes, Vec<OwnedFd>)>);

impl Outbox {
    /// Sends a message; an error where the other end is gone, or takes nothing any more.
    pub(super) fn send(&self, message: &impl Serialize, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let body = serde_json::to_vec(message).map(SecretBytes::new)?;
        if body.len() > BODY_MAX || descriptors.len() > DESCRIPTORS_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let sent = self.0.try_send((body, descriptors));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Starts reading and writing. The receiver ends when the other end hangs up.
pub(super) fn open(socket: UnixStream) -> io::Result<(Outbox, mpsc::Receiver<Incoming>)> {
    let (outbox, outgoing) = sync_channel(WAITING_MAX);
    let (received, inbox) = mpsc::channel(WAITING_MAX);
    let writing = socket.try_clone()?;
    thread::Builder::new()
        .name("channel-write".to_owned())
        .spawn(move || write_all(writing, &outgoing))?;
    thread::Builder::new()
        .name("channel-read".to_owned())
        .spawn(move || read_all(&socket, &received))?;
    Ok((Outbox(outbox), inbox))
}

fn write_all(mut socket: UnixStream, outgoing: &Receiver<(SecretBytes, Vec<OwnedFd>)>) {
    while let Ok((body, descriptors)) = outgoing.recv() {
        if let Err(error) = send(&mut socket, &body, &descriptors) {
            tracing::debug!(%error, "the other end of the worker's socket is gone");
            return;
        }
    }
}

fn read_all(socket: &UnixStream, received: &mpsc::Sender<Incoming>) {
    loop {
        match receive(socket) {
            Ok(Some(message)) => {
                if received.blocking_send(message).is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "the other end of the worker's socket is gone");
                return;
            }
        }
    }
}

fn send(socket: &mut UnixStream, body: &SecretBytes, descriptors: &[OwnedFd]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes();
    let count = u8::try_from(descriptors.len()).map_err(io::Error::other)?;
    let [a, b, c, d] = length;
    let head = [a, b, c, d, count];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let borrowed: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
    if !borrowed.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&borrowed));
    }
    let sent = sendmsg(
        &*socket,
        &[IoSlice::new(&head)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    socket.write_all(head.get(sent..).unwrap_or_default())?;
    socket.write_all(body.expose())
}

/// Sends one message and no more, in the place of an [`Outbox`] that is gone.
pub(super) fn tell(mut socket: UnixStream, message: &impl Serialize) -> io::Result<()> {
    let body = SecretBytes::new(serde_json::to_vec(message)?);
    send(&mut socket, &body, &[])
}

/// The next message; `None` when the other end has closed between two.
pub(super) fn receive(mut socket: &UnixStream) -> io::Result<Option<Incoming>> {
    let (mut head, mut filled) = ([0; HEAD], 0);
    let mut descriptors = Vec::new();
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(rest)];
        let came = match recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(came) => came.bytes,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(came) = message {
                descriptors.extend(came);
            }
        }
        if came == 0 {
            let closed = if filled == 0 {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
            return closed;
        }
        filled += came;
    }
    let [a, b, c, d, count] = head;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > BODY_MAX || usize::from(count) != descriptors.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Grows with what arrives, not with what was announced.
    let mut body = Vec::new();
    let announced = u64::try_from(length).unwrap_or(u64::MAX);
    (&mut socket).take(announced).read_to_end(&mut body)?;
    let body = SecretBytes::new(body);
    if body.len() != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(Incoming { body, descriptors }))
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt as _};

    use super::*;

    #[test]
    fn a_message_carries_descriptors() {
        let (near, far) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"held").unwrap();
        let (outbox, _inbox) = open(near).unwrap();
        outbox.send(&"first", vec![file.into()]).unwrap();
        outbox.send(&"second", Vec::new()).unwrap();
        let mut first = receive(&far).unwrap().unwrap();
        assert_eq!(first.read::<String>().unwrap(), "first");
        let came = File::from(first.descriptors.pop().unwrap());
        let mut content = [0; 4];
        came.read_exact_at(&mut content, 0).unwrap();
        assert_eq!(&content, b"held");
        let second = receive(&far).unwrap().unwrap();
        assert_eq!(second.read::<String>().unwrap(), "second");
        assert!(second.descriptors.is_empty());
        drop((outbox, _inbox));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for bytes in [
            &[0xff, 0xff, 0xff, 0xff, 0][..],
            &[0, 0, 0, 1, 3, b'0'],
            &[0, 0, 0, 9, 0, b'1'],
            &[0, 0],
        ] {
            let (mut near, far) = UnixStream::pair().unwrap();
            near.write_all(bytes).unwrap();
            drop(near);
            assert!(receive(&far).is_err(), "{bytes:?}");
        }
    }
}
