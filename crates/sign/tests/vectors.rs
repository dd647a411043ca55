//! What others have published, and what must not pass.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use portcullis_sign::{
    Envelope, EnvelopeError, KeyError, PublicKey, SIGNATURES_MAX, SecretKey, Signature,
    VerifyError, pae,
};

const TYPE: &str = "application/vnd.portcullis.test";

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn signed(payload: &[u8], by: &[&SecretKey]) -> Envelope {
    let mut envelope = Envelope::new(TYPE, payload.to_vec(), Vec::new());
    for key in by {
        envelope.sign(key);
    }
    envelope
}

/// DSSE v1, protocol.md, "Test Vectors".
#[test]
fn the_encoding_is_that_of_the_specification() {
    assert_eq!(
        pae("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
    assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
    // Lengths are in bytes.
    assert_eq!(pae("\u{e4}", b"\xff"), b"DSSEv1 2 \xc3\xa4 1 \xff");
}

/// RFC 8032, section 7.1, TEST 1 to 3, as keys: seed and public key. The public key stands at the
/// end of the SubjectPublicKeyInfo.
#[test]
fn keys_are_those_of_the_rfc() {
    for (seed, public) in [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        ),
    ] {
        let seed = <[u8; 32]>::try_from(hex::decode(seed).unwrap()).unwrap();
        let pem = SecretKey::from_seed(&seed).public().to_pem();
        let der = base64_of(&pem);
        assert_eq!(hex::encode(&der[der.len() - 32..]), public);
    }
}

fn base64_of(pem: &str) -> Vec<u8> {
    use base64::Engine;
    let body: String = pem.lines().filter(|line| !line.contains("-----")).collect();
    base64::engine::general_purpose::STANDARD
        .decode(body)
        .unwrap()
}

/// Made with Python's `cryptography` 48 from the seed 32 times 0x07:
/// `sign(b"DSSEv1 31 application/vnd.portcullis.test 5 hello")`.
#[test]
fn signatures_are_those_of_another_implementation() {
    let signature = key(7).sign(TYPE, b"hello");
    assert_eq!(hex::encode(signature.bytes), PYTHON_SIGNATURE);
    assert_eq!(key(7).public().id().as_str(), PYTHON_KEY_ID);
}

const PYTHON_SIGNATURE: &str = "371a2a9b2d9c0ea1a9e8d351f499c9db695be0f2254da79793ffb030ae22083d67e7b311cd7765abdb7c89b42f9090ef856e92a1da7078a690a353d15ad59e0b";
const PYTHON_KEY_ID: &str = "324be2dea8bc44461b0233e51fa48902ed6b1cc671e7739af2551e0bfe68f54e";

#[test]
fn keys_survive_pem_and_text_before_it_is_skipped() {
    let secret = key(1);
    let noted = format!(
        "A key for tests.\nTrusted for nothing.\n\n{}",
        secret.to_pem()
    );
    assert_eq!(
        SecretKey::from_pem(&noted).unwrap().public(),
        secret.public()
    );
    let public = secret.public().to_pem();
    assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    assert_eq!(PublicKey::from_pem(&public).unwrap(), secret.public());
}

#[test]
fn a_key_of_another_kind_is_told() {
    let public = key(1).public().to_pem();
    let error = SecretKey::from_pem(&public).unwrap_err().to_string();
    assert!(error.contains("BEGIN PRIVATE KEY"), "{error}");
    for text in ["", "-----BEGIN PUBLIC KEY-----\n", &key(1).to_pem()] {
        let error = PublicKey::from_pem(text).unwrap_err();
        assert!(matches!(error, KeyError::Unreadable { .. }), "{error}");
    }
}

/// The neutral point as a key: with it one signature would hold for every message.
#[test]
fn a_weak_key_is_refused() {
    let pem = "-----BEGIN PUBLIC KEY-----\n\
               MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\
               -----END PUBLIC KEY-----\n";
    let error = PublicKey::from_pem(pem).unwrap_err();
    assert!(matches!(error, KeyError::Weak), "{error}");
}

#[test]
fn a_secret_does_not_show_itself() {
    let shown = format!("{:?}", key(1));
    assert_eq!(shown, format!("SecretKey({})", key(1).public().id()));
}

#[test]
fn everyone_who_signed_and_is_trusted_is_told() {
    let (ann, bob, eve) = (key(1), key(2), key(3));
    let envelope = signed(b"bytes", &[&ann, &bob, &eve]);
    let read = Envelope::from_json(envelope.to_json().as_bytes()).unwrap();
    assert_eq!(read, envelope);
    let verified = read.verify(TYPE, &[bob.public(), ann.public()]).unwrap();
    assert_eq!(verified.payload(), b"bytes");
    let signers: Vec<_> = verified.signers().cloned().collect();
    assert_eq!(signers, [ann.public().id(), bob.public().id()]);
    assert_eq!(verified.signatures()[0].1, envelope.signatures()[0].bytes);
    assert_eq!(verified.unrecognised(), 1);
}

#[test]
fn a_key_counts_once_however_often_it_signs() {
    let ann = key(1);
    let mut envelope = signed(b"bytes", &[&ann, &ann]);
    assert_eq!(envelope.signatures().len(), 1);
    let mut twice = envelope.signatures().to_vec();
    twice.push(Signature {
        key: None,
        ..twice[0].clone()
    });
    envelope = Envelope::new(TYPE, b"bytes".to_vec(), twice);
    let verified = envelope.verify(TYPE, &[ann.public()]).unwrap();
    assert_eq!(verified.signers().count(), 1);
}

#[test]
fn a_signature_holds_for_its_bytes_and_type_alone() {
    let ann = key(1);
    let made = signed(b"bytes", &[&ann]).signatures().to_vec();
    let check = |payload_type: &str, payload: &[u8], signatures: &[Signature], expect| {
        let envelope = Envelope::new(payload_type, payload.to_vec(), signatures.to_vec());
        assert_eq!(envelope.verify(TYPE, &[ann.public()]).err(), expect);
    };
    let mismatch = Some(VerifyError::Mismatch(ann.public().id()));
    check(TYPE, b"bytes", &made, None);
    check(TYPE, b"byteS", &made, mismatch.clone());
    check(TYPE, b"bytes ", &made, mismatch.clone());
    let other = VerifyError::PayloadType {
        wanted: TYPE.into(),
        found: "other".into(),
    };
    check("other", b"bytes", &made, Some(other));
    check(TYPE, b"bytes", &[], Some(VerifyError::Untrusted));
    for bit in 0..512 {
        let mut changed = made.clone();
        changed[0].bytes[bit / 8] ^= 1 << (bit % 8);
        check(TYPE, b"bytes", &changed, mismatch.clone());
        changed[0].key = None;
        check(TYPE, b"bytes", &changed, Some(VerifyError::Untrusted));
    }
}

/// The name of the key is a hint: none, or another's own, does no harm and no good.
#[test]
fn a_name_alone_is_no_signature() {
    let (ann, eve) = (key(1), key(3));
    let mut forged = eve.sign(TYPE, b"bytes");
    forged.key = Some(ann.public().id().to_string());
    let envelope = Envelope::new(TYPE, b"bytes".to_vec(), vec![forged]);
    let error = envelope.verify(TYPE, &[ann.public()]).unwrap_err();
    assert_eq!(error, VerifyError::Mismatch(ann.public().id()));
    for name in [None, Some("ann@example.com".to_owned())] {
        let signature = Signature {
            key: name,
            ..ann.sign(TYPE, b"bytes")
        };
        let envelope = Envelope::new(TYPE, b"bytes".to_vec(), vec![signature]);
        assert!(envelope.verify(TYPE, &[eve.public(), ann.public()]).is_ok());
    }
}

#[test]
fn foreign_envelopes_are_read_and_broken_ones_are_told() {
    let read = |json: &str| Envelope::from_json(json.as_bytes());
    // URL-safe, without padding, with a field that is not ours.
    let envelope = read(r#"{"payloadType":"t","payload":"_-8","signatures":[],"x":1}"#).unwrap();
    assert_eq!(envelope.unverified_payload(), b"\xff\xef");
    assert!(matches!(read("{}"), Err(EnvelopeError::Json(_))));
    assert!(matches!(
        read(r#"{"payloadType":"t","payload":"*","signatures":[]}"#),
        Err(EnvelopeError::Base64 { field: "payload" })
    ));
    assert!(matches!(
        read(r#"{"payloadType":"t","payload":"","signatures":[{"sig":"AAAA"}]}"#),
        Err(EnvelopeError::SignatureLength(3))
    ));
    let many = vec![key(1).sign("t", b""); SIGNATURES_MAX + 1];
    let many = Envelope::new("t", Vec::new(), many).to_json();
    assert!(matches!(
        read(&many),
        Err(EnvelopeError::TooManySignatures { given: 17 })
    ));
}
