//! The ECHConfig (RFC 9849 4), written and read.

/// One config of the version of RFC 9849.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct EchConfig {
    bytes: Vec<u8>,
    id: u8,
    public_name: String,
}

impl EchConfig {
    /// For an X25519 key.
    pub(super) fn new(id: u8, public_key: &[u8; 32], public_name: &str) -> Self {
        let mut contents = vec![id];
        contents.extend(KEM_X25519.to_be_bytes());
        put(&mut contents, public_key);
        let suites: Vec<u8> = AEADS
            .iter()
            .flat_map(|aead| [KDF_SHA256.to_be_bytes(), aead.to_be_bytes()])
            .flatten()
            .collect();
        put(&mut contents, &suites);
        contents.push(MAXIMUM_NAME_LENGTH);
        // A host name has at most 253 bytes.
        contents.push(public_name.len() as u8);
        contents.extend(public_name.as_bytes());
        put(&mut contents, &[]);
        let mut bytes = VERSION.to_be_bytes().to_vec();
        put(&mut bytes, &contents);
        Self {
            bytes,
            id,
            public_name: public_name.to_owned(),
        }
    }

    /// As it is in a list.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Clients name it by this.
    pub(super) fn id(&self) -> u8 {
        self.id
    }

    pub(super) fn public_name(&self) -> &str {
        &self.public_name
    }
}

/// An ECHConfigList.
pub(super) fn list<'a>(configs: impl Iterator<Item = &'a EchConfig>) -> Vec<u8> {
    let configs: Vec<u8> = configs.flat_map(|config| config.bytes.clone()).collect();
    let mut list = Vec::new();
    put(&mut list, &configs);
    list
}

/// The configs of an ECHConfigList. Those of other versions are left out, as clients leave
/// them out.
pub(super) fn read_list(list: &[u8]) -> Result<Vec<EchConfig>, &'static str> {
    let read = || {
        let mut rest = list;
        let mut configs = Some(take_vector(&mut rest)?).filter(|_| rest.is_empty())?;
        let mut found = Vec::new();
        while !configs.is_empty() {
            let start = configs;
            let version = take_u16(&mut configs)?;
            let contents = take_vector(&mut configs)?;
            if version == VERSION {
                let bytes = &start[..start.len() - configs.len()];
                found.push(read_contents(bytes, contents)?);
            }
        }
        Some(found)
    };
    let found = read().ok_or("has an ECHCONFIG that is no ECHConfigList of RFC 9849")?;
    match found.is_empty() {
        true => Err("has an ECHCONFIG without a config of version 0xfe0d"),
        false => Ok(found),
    }
}

fn read_contents(bytes: &[u8], mut contents: &[u8]) -> Option<EchConfig> {
    let rest = &mut contents;
    let [id] = take(rest)?;
    let _kem = take_u16(rest)?;
    let _public_key = take_vector(rest)?;
    let _suites = take_vector(rest)?;
    let [_maximum_name_length] = take(rest)?;
    let [length] = take(rest)?;
    let (name, after) = rest.split_at_checked(length.into())?;
    *rest = after;
    let _extensions = take_vector(rest)?;
    rest.is_empty().then_some(())?;
    Some(EchConfig {
        bytes: bytes.to_vec(),
        id,
        public_name: str::from_utf8(name).ok()?.to_ascii_lowercase(),
    })
}

/// With two bytes of length in front. None here is longer.
fn put(bytes: &mut Vec<u8>, vector: &[u8]) {
    bytes.extend((vector.len() as u16).to_be_bytes());
    bytes.extend(vector);
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    take(rest).map(u16::from_be_bytes)
}

fn take_vector<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_u16(rest)?;
    let (vector, tail) = rest.split_at_checked(length.into())?;
    *rest = tail;
    Some(vector)
}

const VERSION: u16 = 0xfe0d;
/// RFC 9180 7.
const KEM_X25519: u16 = 0x0020;
const KDF_SHA256: u16 = 0x0001;
/// AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305.
const AEADS: [u16; 3] = [0x0001, 0x0002, 0x0003];
/// Clients pad shorter names to it, so that their length tells nothing.
const MAXIMUM_NAME_LENGTH: u8 = 64;
