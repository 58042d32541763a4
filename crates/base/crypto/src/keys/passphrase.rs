//! Keys from passphrases: Argon2id (RFC 9106 §4, the second recommended choice: 64 MiB, 3 passes, 4 lanes).

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::KeyError;
use crate::{
    aead::{self, KEY_LEN, Purpose},
    random::random_array,
    secret::{Passphrase, SecretBytes},
};

pub(super) const SALT_LEN: usize = 16;
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;

/// Seals `plaintext` under the passphrase; returns the salt and the sealed bytes.
pub(super) fn seal(
    passphrase: &Passphrase,
    purpose: Purpose,
    plaintext: &[u8],
) -> Result<([u8; SALT_LEN], Vec<u8>), KeyError> {
    let salt = random_array()?;
    let sealed = aead::seal(&*derive(passphrase, &salt)?, purpose, b"passphrase", plaintext)?;
    Ok((salt, sealed))
}

pub(super) fn open(
    passphrase: &Passphrase,
    salt: &[u8],
    purpose: Purpose,
    sealed: &[u8],
) -> Result<SecretBytes, KeyError> {
    let salt = salt.try_into().map_err(|_| KeyError::WrongPassphrase)?;
    aead::open(&*derive(passphrase, salt)?, purpose, b"passphrase", sealed)
        .map_err(|_| KeyError::WrongPassphrase)
}

fn derive(passphrase: &Passphrase, salt: &[u8; SALT_LEN]) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    // The parameters belong to the formats that use them; a file cannot ask for others.
    Params::new(MEMORY_KIB, PASSES, LANES, Some(KEY_LEN))
        .and_then(|params| {
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
                passphrase.expose().as_bytes(),
                salt,
                key.as_mut_slice(),
            )
        })
        .map_err(|_| aead::SealFailed)?;
    Ok(key)
}
