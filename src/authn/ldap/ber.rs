//! The encoding of LDAP messages: BER, as far as RFC 4511 (section 5.1) lets LDAP use it.
//!
//! What a server sends is read by the shape that is expected, element by element: nothing here calls itself, so that a
//! message of a hundred thousand nested sequences is an error and not the end of the process.

/// BOOLEAN.
pub(super) const BOOLEAN: u8 = 0x01;
/// INTEGER.
pub(super) const INTEGER: u8 = 0x02;
/// OCTET STRING.
pub(super) const OCTETS: u8 = 0x04;
/// ENUMERATED.
pub(super) const ENUMERATED: u8 = 0x0a;
/// SEQUENCE, and SEQUENCE OF.
pub(super) const SEQUENCE: u8 = 0x30;
/// SET OF.
pub(super) const SET: u8 = 0x31;

/// What was read is not LDAP, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what it sends is not LDAP: {0}")]
pub(super) struct Garbled(pub(super) &'static str);

const SHORT: Garbled = Garbled("a message ends too early");

/// How many bytes of the length follow its first one, which holds the length itself where there are none.
///
/// # Errors
/// An indefinite length, which LDAP forbids, or one of more than four bytes, which nothing needs.
pub(super) fn length_bytes(first: u8) -> Result<usize, Garbled> {
    match first {
        0..=0x7f => Ok(0),
        0x81..=0x84 => Ok(usize::from(first & 0x7f)),
        0x80 | 0x85..=0xff => Err(Garbled("a length of a form that LDAP does not use")),
    }
}

/// The length that these bytes say, most significant first.
pub(super) fn length(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte))
}

/// The elements of a message, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'bytes>(&'bytes [u8]);

impl<'bytes> Reader<'bytes> {
    /// Reads these bytes.
    pub(super) fn new(bytes: &'bytes [u8]) -> Reader<'bytes> {
        Reader(bytes)
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element: its tag, and what it holds.
    ///
    /// # Errors
    /// There is no whole element.
    pub(super) fn element(&mut self) -> Result<(u8, &'bytes [u8]), Garbled> {
        let (&tag, rest) = self.0.split_first().ok_or(SHORT)?;
        if tag & 0x1f == 0x1f {
            return Err(Garbled("a tag of several bytes"));
        }
        let (&first, rest) = rest.split_first().ok_or(SHORT)?;
        let (size, rest) = match length_bytes(first)? {
            0 => (usize::from(first), rest),
            more => {
                let (bytes, rest) = rest.split_at_checked(more).ok_or(SHORT)?;
                (length(bytes), rest)
            }
        };
        let (content, rest) = rest.split_at_checked(size).ok_or(SHORT)?;
        self.0 = rest;
        Ok((tag, content))
    }

    /// What the next element holds, which has to have this tag.
    ///
    /// # Errors
    /// It has another, or there is none.
    pub(super) fn expect(&mut self, tag: u8) -> Result<&'bytes [u8], Garbled> {
        match self.element()? {
            (found, content) if found == tag => Ok(content),
            _ => Err(Garbled("an element stands where another belongs")),
        }
    }

    /// What the next element holds if it has this tag; otherwise nothing is read.
    ///
    /// # Errors
    /// It has the tag and is not whole.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<&'bytes [u8]>, Garbled> {
        match self.0.first() {
            Some(next) if *next == tag => self.expect(tag).map(Some),
            Some(_) | None => Ok(None),
        }
    }
}

/// The number that an INTEGER or ENUMERATED holds.
///
/// # Errors
/// It is negative, or larger than any number of LDAP.
pub(super) fn number(content: &[u8]) -> Result<u32, Garbled> {
    match content {
        [] => Err(Garbled("a number without digits")),
        [first, ..] if *first & 0x80 != 0 => Err(Garbled("a negative number")),
        _ => content
            .iter()
            .try_fold(0_u32, |sum, byte| sum.checked_mul(256)?.checked_add(u32::from(*byte)))
            .ok_or(Garbled("a number that is too large")),
    }
}

/// A text.
///
/// # Errors
/// It is not UTF-8.
pub(super) fn text(content: &[u8]) -> Result<String, Garbled> {
    std::str::from_utf8(content).map(str::to_owned).map_err(|_| Garbled("a text that is not UTF-8"))
}

/// An element with this tag that holds `parts`, one after the other.
pub(super) fn put(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let size: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(size + 6);
    out.push(tag);
    match u8::try_from(size) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            // Never more than four bytes are needed: nothing that long is ever asked.
            out.push(0x84);
            out.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// A number, as INTEGER or ENUMERATED.
pub(super) fn put_number(tag: u8, number: u32) -> Vec<u8> {
    let bytes = [&[0], number.to_be_bytes().as_slice()].concat();
    let is_needed = |rest: &[u8]| rest.first() != Some(&0) || rest.get(1).is_none_or(|next| next & 0x80 != 0);
    let mut digits = bytes.as_slice();
    while let Some((_, rest)) = digits.split_first()
        && !is_needed(digits)
    {
        digits = rest;
    }
    put(tag, &[digits])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_with_every_form_of_length() {
        for bytes in [
            [&[OCTETS, 3], b"abc".as_slice()].concat(),
            [&[OCTETS, 0x81, 3], b"abc".as_slice()].concat(),
            // As Active Directory writes every length.
            [&[OCTETS, 0x84, 0, 0, 0, 3], b"abc".as_slice()].concat(),
        ] {
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.expect(OCTETS), Ok(b"abc".as_slice()), "{bytes:?}");
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn what_is_not_whole_or_not_ldap_is_an_error() {
        for bytes in [
            [].as_slice(),
            &[OCTETS],
            &[OCTETS, 3, b'a'],
            &[OCTETS, 0x82, 1],
            &[OCTETS, 0x80, 0, 0],
            &[OCTETS, 0x85, 0, 0, 0, 0, 1, 0],
            &[OCTETS, 0xff],
            &[OCTETS, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x3f, 0x81, 1, 0],
        ] {
            assert!(Reader::new(bytes).element().is_err(), "{bytes:?}");
        }
        assert!(Reader::new(&[OCTETS, 0]).expect(INTEGER).is_err());
        assert_eq!(Reader::new(&[OCTETS, 0]).optional(INTEGER), Ok(None));
    }

    #[test]
    fn numbers_are_written_as_short_as_can_be_and_read_back() {
        for (value, bytes) in [
            (0, [INTEGER, 1, 0].as_slice()),
            (127, &[INTEGER, 1, 127]),
            (128, &[INTEGER, 2, 0, 128]),
            (65_536, &[INTEGER, 3, 1, 0, 0]),
            (u32::MAX, &[INTEGER, 5, 0, 255, 255, 255, 255]),
        ] {
            assert_eq!(put_number(INTEGER, value), bytes);
            assert_eq!(Reader::new(bytes).expect(INTEGER).and_then(number), Ok(value));
        }
        for content in [[].as_slice(), &[0x80], &[1, 0, 0, 0, 0]] {
            assert!(number(content).is_err(), "{content:?}");
        }
    }

    #[test]
    fn a_long_element_carries_its_length() {
        let long = put(OCTETS, &[&[7; 300], &[8; 300]]);
        assert_eq!(Reader::new(&long).expect(OCTETS).map(<[u8]>::len), Ok(600));
    }
}
