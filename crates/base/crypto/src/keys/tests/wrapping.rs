//! Data keys under the root key, and values under data keys.

use super::*;

#[test]
fn wrapped_keys_belong_to_their_context_and_root() {
    let (place, other) = (Place::new(), Place::new());
    let provider = place.create();
    let wrapped = provider.wrap(&data_key(), b"artifact digits@1").unwrap();
    assert_eq!(wrapped.key_id, provider.current_root().unwrap());
    assert!(matches!(
        provider.unwrap(&wrapped, b"artifact digits@2"),
        Err(KeyError::NotAuthentic)
    ));
    assert!(matches!(
        provider.unwrap(&wrapped, b""),
        Err(KeyError::NotAuthentic)
    ));
    for index in 0..wrapped.ciphertext.len() {
        let mut changed = wrapped.clone();
        changed.ciphertext[index] ^= 1;
        assert!(matches!(
            provider.unwrap(&changed, b"artifact digits@1"),
            Err(KeyError::NotAuthentic)
        ));
        changed.ciphertext.truncate(index);
        assert!(matches!(
            provider.unwrap(&changed, b"artifact digits@1"),
            Err(KeyError::NotAuthentic)
        ));
    }
    let other = other.create();
    assert!(matches!(
        other.unwrap(&wrapped, b"artifact digits@1"),
        Err(KeyError::UnknownRoot { .. })
    ));
    let renamed = WrappedKey {
        key_id: other.current_root().unwrap(),
        ..wrapped.clone()
    };
    assert!(matches!(
        other.unwrap(&renamed, b"artifact digits@1"),
        Err(KeyError::NotAuthentic)
    ));
    assert_ne!(provider.wrap(&data_key(), b"artifact digits@1").unwrap(), wrapped);
}

#[test]
fn a_wrapped_key_survives_json() {
    let place = Place::new();
    let provider = place.create();
    let wrapped = provider.wrap(&data_key(), b"x").unwrap();
    let json = serde_json::to_string(&wrapped).unwrap();
    assert_eq!(serde_json::from_str::<WrappedKey>(&json).unwrap(), wrapped);
    assert!(serde_json::from_str::<WrappedKey>(r#"{"key_id":"a","ciphertext":"%"}"#).is_err());
}

#[test]
fn short_values_seal_under_a_data_key() {
    let sealed = data_key().seal(b"jane@example.org", b"subject 7 email").unwrap();
    assert_eq!(
        data_key().open(&sealed, b"subject 7 email").unwrap().expose(),
        b"jane@example.org"
    );
    assert!(data_key().open(&sealed, b"subject 8 email").is_err());
    assert!(
        DataKey::from_bytes([4; 32])
            .open(&sealed, b"subject 7 email")
            .is_err()
    );
    assert!(data_key().open(&[], b"subject 7 email").is_err());
    // A value sealed by a data key does not open as a key wrapped under the same bytes.
    let root = root::RootKey::from_secret(&crate::SecretBytes::new(vec![3; 32])).unwrap();
    let value = data_key().seal(&[9; 32], b"x").unwrap();
    let wrapped = WrappedKey {
        key_id: root.id().into(),
        ciphertext: value,
    };
    assert!(matches!(root.unwrap(&wrapped, b"x"), Err(KeyError::NotAuthentic)));
    assert_eq!(format!("{:?}", data_key()), "****");
}
