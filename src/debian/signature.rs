//! Clear signatures of Release files, against the archive keys that travel with baibox.

use super::DebianError;
use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;

/// Debian's archive keys, from its package `debian-archive-keyring`.
const KEYS: [&str; 9] = [
    include_str!("../../images/debian/keys/bullseye-automatic.asc"),
    include_str!("../../images/debian/keys/bullseye-security-automatic.asc"),
    include_str!("../../images/debian/keys/bullseye-stable.asc"),
    include_str!("../../images/debian/keys/bookworm-automatic.asc"),
    include_str!("../../images/debian/keys/bookworm-security-automatic.asc"),
    include_str!("../../images/debian/keys/bookworm-stable.asc"),
    include_str!("../../images/debian/keys/trixie-automatic.asc"),
    include_str!("../../images/debian/keys/trixie-security-automatic.asc"),
    include_str!("../../images/debian/keys/trixie-stable.asc"),
];

/// The signed part of a clear-signed text, and nothing that stands around it.
///
/// Keys are not checked for expiry: the keys of an old suite expire while its
/// last Release file stays what it was.
pub fn verified_text(name: &str, bytes: &[u8]) -> Result<String, DebianError> {
    let unsigned = || DebianError::NotSigned { name: name.to_owned() };
    let text = std::str::from_utf8(bytes).map_err(|_| unsigned())?;
    let (message, _) = CleartextSignedMessage::from_string(text).map_err(|_| unsigned())?;
    let strong = |hash| matches!(hash, Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512));
    let good = KEYS.iter().any(|armored| {
        let (key, _) = SignedPublicKey::from_string(armored).expect("the keys in the binary are keys");
        let subkeys = key.public_subkeys.iter().map(|subkey| message.verify(subkey));
        std::iter::once(message.verify(&key)).chain(subkeys).flatten().any(|signature| strong(signature.hash_alg()))
    });
    if good { Ok(message.signed_text()) } else { Err(DebianError::Signature { name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_in_the_binary_are_whole() {
        for armored in KEYS {
            let (key, _) = SignedPublicKey::from_string(armored).unwrap();
            // Not the key as a whole: other people's signatures on it cannot be checked without their keys.
            for subkey in &key.public_subkeys {
                subkey.verify_bindings(&key.primary_key).unwrap();
            }
        }
    }

    #[test]
    fn unsigned_and_wrongly_signed_texts_are_refused() {
        assert!(matches!(verified_text("x", b"Codename: bullseye\n"), Err(DebianError::NotSigned { .. })));
        assert!(matches!(verified_text("x", b"\xff"), Err(DebianError::NotSigned { .. })));
    }
}
