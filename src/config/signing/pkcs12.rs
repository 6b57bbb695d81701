//! Reads PKCS#12 files (RFC 7292): the private keys and certificates in them.
//!
//! ```text
//! PFX: version 3, content, mac
//!      content -> safes, each in the clear or encrypted as a whole
//!                 safe -> bags: key | key, encrypted | certificate | others, which are skipped
//! ```
//!
//! What OpenSSL 1 and 3, Windows, Java and Azure Key Vault write is understood: PBES2 with PBKDF2
//! and AES or triple DES (RFC 8018), and the older schemes with triple DES or RC2 and SHA-1. The
//! password is checked by the file's mac first, so that a wrong one is told from a broken file.
//! All that was decrypted is wiped when it is dropped.

use super::der::{CONTEXT_0, Elements, INTEGER, Malformed, OCTET_STRING, OID, SEQUENCE};
use crate::limits::PKCS12_ITERATIONS_MAX;
use cbc::cipher::array::typenum::Unsigned;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, BlockSizeUser, InnerIvInit, Iv, KeyInit};
use ring::{digest, hmac, pbkdf2};
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// Bytes that are wiped.
type Secret = Zeroizing<Vec<u8>>;

/// What is in a file.
#[derive(Default)]
pub(super) struct Contents {
    /// Keys in PKCS#8 form.
    pub(super) keys: Vec<Secret>,
    /// Certificates in DER form.
    pub(super) certificates: Vec<Vec<u8>>,
}

// object identifiers, as they are encoded
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x06];
/// Up to its last number: 1 a key, 2 an encrypted key, 3 a certificate.
const BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01];
const X509: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
/// Up to its last number: 3 triple DES, 5 RC2 of 128 bits, 6 RC2 of 40 bits; with SHA-1 all.
const PBE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01];
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
/// Up to its last number: 7 SHA-1, 9 SHA-256, 10 SHA-384, 11 SHA-512.
const HMAC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02];
const DES_EDE3: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x03, 0x07];
/// Up to its last number: 2 for keys of 128 bits, 22 of 192, 42 of 256.
const AES_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01];
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
/// Up to its last number: 1 of 256 bits, 2 of 384, 3 of 512.
const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

/// What the password of a key is derived for.
#[derive(Clone, Copy)]
enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// Why a file cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Not PKCS#12, or broken.
    Broken,
    /// Lengths that DER does not allow.
    Indefinite,
    /// The password does not fit.
    Password,
    /// A scheme that is not known here.
    Scheme(&'static str),
}

impl From<Malformed> for Unreadable {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Broken => Unreadable::Broken,
            Malformed::Indefinite => Unreadable::Indefinite,
        }
    }
}

/// The password, in both of its encodings.
struct Password {
    /// For PBES2.
    utf8: Secret,
    /// For all else: UTF-16, with an end mark.
    utf16: Secret,
}

impl Password {
    fn of(text: &str) -> Self {
        let mut utf16 = Zeroizing::new(Vec::with_capacity(2 * text.len() + 2));
        for unit in text.encode_utf16().chain([0]) {
            utf16.extend(unit.to_be_bytes());
        }
        Password {
            utf8: Zeroizing::new(text.as_bytes().to_vec()),
            utf16,
        }
    }

    /// An absent password: some writers take it for an empty text, others for nothing at all.
    fn nothing() -> Self {
        Password {
            utf8: Secret::default(),
            utf16: Secret::default(),
        }
    }
}

/// Reads a file.
pub(super) fn read(file: &[u8], password: &str) -> Result<Contents, Unreadable> {
    let mut pfx = Elements::of(file).within(SEQUENCE)?;
    if pfx.number()? != 3 {
        return Err(Unreadable::Broken);
    }
    let mut content = pfx.within(SEQUENCE)?;
    if content.expect(OID)? != DATA {
        return Err(Unreadable::Scheme("a signature in place of a mac"));
    }
    let safes = content.within(CONTEXT_0)?.expect(OCTET_STRING)?;
    let mut password = Password::of(password);
    if !pfx.is_empty() {
        let mac = Mac::read(pfx.within(SEQUENCE)?)?;
        if !mac.fits(&password.utf16, safes) {
            if !password.utf8.is_empty() || !mac.fits(&[], safes) {
                return Err(Unreadable::Password);
            }
            password = Password::nothing();
        }
    }
    let mut contents = Contents::default();
    let mut safes = Elements::of(safes).within(SEQUENCE)?;
    while !safes.is_empty() {
        read_safe(safes.within(SEQUENCE)?, &password, &mut contents)?;
    }
    Ok(contents)
}

fn read_safe(
    mut safe: Elements<'_>,
    password: &Password,
    contents: &mut Contents,
) -> Result<(), Unreadable> {
    let kind = safe.expect(OID)?;
    let mut inner = safe.within(CONTEXT_0)?;
    if kind == DATA {
        return read_bags(inner.expect(OCTET_STRING)?, password, contents);
    }
    if kind != ENCRYPTED_DATA {
        return Err(Unreadable::Scheme(
            "encryption for a receiver's certificate",
        ));
    }
    let mut data = inner.within(SEQUENCE)?;
    data.number()?;
    let mut content = data.within(SEQUENCE)?;
    content.expect(OID)?;
    let scheme = content.within(SEQUENCE)?;
    // [0] without the tag of what is in it
    let encrypted = content.expect(0x80)?;
    read_bags(&decrypt(scheme, encrypted, password)?, password, contents)
}

fn read_bags(bags: &[u8], password: &Password, contents: &mut Contents) -> Result<(), Unreadable> {
    let mut bags = Elements::of(bags).within(SEQUENCE)?;
    while !bags.is_empty() {
        let mut bag = bags.within(SEQUENCE)?;
        let kind = bag.expect(OID)?;
        let value = bag.expect(CONTEXT_0)?;
        match last_number(kind, BAG) {
            Some(1) => contents.keys.push(Zeroizing::new(value.to_vec())),
            Some(2) => {
                let mut shrouded = Elements::of(value).within(SEQUENCE)?;
                let scheme = shrouded.within(SEQUENCE)?;
                let encrypted = shrouded.expect(OCTET_STRING)?;
                contents.keys.push(decrypt(scheme, encrypted, password)?);
            }
            Some(3) => {
                let mut certificate = Elements::of(value).within(SEQUENCE)?;
                if certificate.expect(OID)? == X509 {
                    let der = certificate.within(CONTEXT_0)?.expect(OCTET_STRING)?;
                    contents.certificates.push(der.to_vec());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The last number of an identifier that begins so; those here are below 128.
fn last_number(oid: &[u8], begin: &[u8]) -> Option<u8> {
    match oid.strip_prefix(begin)? {
        [number] => Some(*number),
        _ => None,
    }
}

/// What proves the password.
struct Mac<'a> {
    algorithm: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    expected: &'a [u8],
    salt: &'a [u8],
    iterations: u32,
}

impl<'a> Mac<'a> {
    fn read(mut mac: Elements<'a>) -> Result<Self, Unreadable> {
        let mut info = mac.within(SEQUENCE)?;
        let oid = info.within(SEQUENCE)?.expect(OID)?;
        let (algorithm, hmac) = match last_number(oid, SHA2) {
            _ if oid == SHA1 => (
                &digest::SHA1_FOR_LEGACY_USE_ONLY,
                hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            ),
            Some(1) => (&digest::SHA256, hmac::HMAC_SHA256),
            Some(2) => (&digest::SHA384, hmac::HMAC_SHA384),
            Some(3) => (&digest::SHA512, hmac::HMAC_SHA512),
            _ => return Err(Unreadable::Scheme("its mac")),
        };
        let expected = info.expect(OCTET_STRING)?;
        let salt = mac.expect(OCTET_STRING)?;
        let iterations = match mac.is_empty() {
            true => 1,
            false => iterations(mac.number()?)?,
        };
        Ok(Mac {
            algorithm,
            hmac,
            expected,
            salt,
            iterations,
        })
    }

    fn fits(&self, password_utf16: &[u8], content: &[u8]) -> bool {
        let length = self.algorithm.output_len();
        let key = derive(
            self.algorithm,
            Purpose::Mac,
            password_utf16,
            self.salt,
            self.iterations,
            length,
        );
        let key = hmac::Key::new(self.hmac, &key);
        hmac::verify(&key, content, self.expected).is_ok()
    }
}

/// More would be a file that is made to keep us busy.
fn iterations(count: u32) -> Result<u32, Unreadable> {
    match count {
        1..=PKCS12_ITERATIONS_MAX => Ok(count),
        _ => Err(Unreadable::Scheme("its number of iterations")),
    }
}

/// RFC 7292 appendix B.2.
fn derive(
    algorithm: &'static digest::Algorithm,
    purpose: Purpose,
    password_utf16: &[u8],
    salt: &[u8],
    iterations: u32,
    length: usize,
) -> Secret {
    let block = algorithm.block_len();
    let filled = |bytes: &[u8]| -> Secret {
        let length = bytes.len().div_ceil(block) * block;
        Zeroizing::new(bytes.iter().copied().cycle().take(length).collect())
    };
    let diversifier = vec![purpose as u8; block];
    let mut input = filled(salt);
    input.extend_from_slice(&filled(password_utf16));
    let mut out = Zeroizing::new(Vec::with_capacity(length + algorithm.output_len()));
    while out.len() < length {
        let mut context = digest::Context::new(algorithm);
        context.update(&diversifier);
        context.update(&input);
        let mut hash = context.finish();
        for _ in 1..iterations {
            hash = digest::digest(algorithm, hash.as_ref());
        }
        out.extend_from_slice(hash.as_ref());
        let addend = filled_to(hash.as_ref(), block);
        for chunk in input.chunks_mut(block) {
            add_and_one(chunk, &addend);
        }
    }
    out.truncate(length);
    out
}

fn filled_to(bytes: &[u8], length: usize) -> Secret {
    Zeroizing::new(bytes.iter().copied().cycle().take(length).collect())
}

/// `number + addend + 1`, the highest byte first; what does not fit is dropped.
fn add_and_one(number: &mut [u8], addend: &[u8]) {
    let mut carry = 1u16;
    for (byte, more) in number.iter_mut().zip(addend).rev() {
        let sum = u16::from(*byte) + u16::from(*more) + carry;
        *byte = (sum & 0xff) as u8;
        carry = sum >> 8;
    }
}

fn decrypt(
    mut scheme: Elements<'_>,
    encrypted: &[u8],
    password: &Password,
) -> Result<Secret, Unreadable> {
    let oid = scheme.expect(OID)?;
    let mut parameters = scheme.within(SEQUENCE)?;
    if oid == PBES2 {
        return decrypt_pbes2(parameters, encrypted, password);
    }
    let salt = parameters.expect(OCTET_STRING)?;
    let iterations = iterations(parameters.number()?)?;
    let bytes = |purpose, length| {
        let sha1 = &digest::SHA1_FOR_LEGACY_USE_ONLY;
        derive(sha1, purpose, &password.utf16, salt, iterations, length)
    };
    let iv = bytes(Purpose::Iv, 8);
    match last_number(oid, PBE) {
        Some(3) => unchain(
            keyed::<des::TdesEde3>(&bytes(Purpose::Key, 24))?,
            &iv,
            encrypted,
        ),
        Some(5) => {
            let key = bytes(Purpose::Key, 16);
            unchain(rc2::Rc2::new_with_eff_key_len(&key, 128), &iv, encrypted)
        }
        Some(6) => {
            let key = bytes(Purpose::Key, 5);
            unchain(rc2::Rc2::new_with_eff_key_len(&key, 40), &iv, encrypted)
        }
        _ => Err(Unreadable::Scheme("its encryption")),
    }
}

/// RFC 8018 section 6.2.
fn decrypt_pbes2(
    mut parameters: Elements<'_>,
    encrypted: &[u8],
    password: &Password,
) -> Result<Secret, Unreadable> {
    let mut derivation = parameters.within(SEQUENCE)?;
    if derivation.expect(OID)? != PBKDF2 {
        return Err(Unreadable::Scheme("its key derivation"));
    }
    let mut derivation = derivation.within(SEQUENCE)?;
    let salt = derivation.expect(OCTET_STRING)?;
    let iterations = iterations(derivation.number()?)?;
    derivation.optional(INTEGER)?;
    let algorithm = match derivation.optional(SEQUENCE)? {
        None => pbkdf2::PBKDF2_HMAC_SHA1,
        Some(prf) => match last_number(Elements::of(prf).expect(OID)?, HMAC) {
            Some(7) => pbkdf2::PBKDF2_HMAC_SHA1,
            Some(9) => pbkdf2::PBKDF2_HMAC_SHA256,
            Some(10) => pbkdf2::PBKDF2_HMAC_SHA384,
            Some(11) => pbkdf2::PBKDF2_HMAC_SHA512,
            _ => return Err(Unreadable::Scheme("its key derivation")),
        },
    };
    let mut cipher = parameters.within(SEQUENCE)?;
    let oid = cipher.expect(OID)?;
    let iv = cipher.expect(OCTET_STRING)?;
    let key = |length: usize| {
        let mut key = Zeroizing::new(vec![0; length]);
        let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(algorithm, iterations, salt, &password.utf8, &mut key);
        key
    };
    match last_number(oid, AES_CBC) {
        Some(2) => unchain(keyed::<aes::Aes128>(&key(16))?, iv, encrypted),
        Some(22) => unchain(keyed::<aes::Aes192>(&key(24))?, iv, encrypted),
        Some(42) => unchain(keyed::<aes::Aes256>(&key(32))?, iv, encrypted),
        _ if oid == DES_EDE3 => unchain(keyed::<des::TdesEde3>(&key(24))?, iv, encrypted),
        _ => Err(Unreadable::Scheme("its encryption")),
    }
}

fn keyed<C: KeyInit>(key: &[u8]) -> Result<C, Unreadable> {
    C::new_from_slice(key).map_err(|_| Unreadable::Broken)
}

/// Undoes cipher block chaining and the padding. That the padding is wrong means a wrong password,
/// as far as there was no mac to tell.
fn unchain<C: BlockCipherDecrypt>(
    cipher: C,
    iv: &[u8],
    encrypted: &[u8],
) -> Result<Secret, Unreadable> {
    let block = <C as BlockSizeUser>::BlockSize::USIZE;
    let iv = Iv::<cbc::Decryptor<C>>::try_from(iv).map_err(|_| Unreadable::Broken)?;
    if encrypted.is_empty() || !encrypted.len().is_multiple_of(block) {
        return Err(Unreadable::Broken);
    }
    let mut chain = cbc::Decryptor::<C>::inner_iv_init(cipher, &iv);
    let mut out = Zeroizing::new(encrypted.to_vec());
    for chunk in out.chunks_exact_mut(block) {
        let block = chunk.try_into().map_err(|_| Unreadable::Broken)?;
        chain.decrypt_block(block);
    }
    let padding = usize::from(out.last().copied().unwrap_or_default());
    let kept = out.len().saturating_sub(padding);
    let is_good = (1..=block).contains(&padding)
        && out
            .iter()
            .skip(kept)
            .all(|byte| usize::from(*byte) == padding);
    if !is_good {
        return Err(Unreadable::Password);
    }
    out.truncate(kept);
    Ok(out)
}
