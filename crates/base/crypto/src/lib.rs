//! AEAD stream files, signatures, hashes, key handles and key providers; the only crate that touches raw keys.
