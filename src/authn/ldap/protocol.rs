//! The messages of LDAP (RFC 4511) that a login needs: bind, search, and the request to begin TLS.

use super::ber::{BOOLEAN, ENUMERATED, Garbled, INTEGER, OCTETS, Reader, SEQUENCE, SET, number, put, put_number, text};
use super::step::Step;

/// The request to begin TLS.
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
/// The control in which a directory says what its password policy makes of a bind (draft-behera-ldap-password-policy).
const PASSWORD_POLICY: &[u8] = b"1.3.6.1.4.1.42.2.27.8.5.1";
/// More of what a server says about a failure is not shown, in characters.
const LONGEST_REMARK: usize = 300;
/// More values of one entry are not kept.
const MAX_VALUES: usize = 10_000;

/// The number of a message that answers nothing: the server says goodbye.
pub(super) const UNASKED: u32 = 0;

/// How far below the base entries are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// The base itself.
    Base,
    /// The base and everything below it.
    Subtree,
}

/// A search. Aliases and referrals are not followed.
#[derive(Clone, Debug)]
pub(super) struct Search {
    /// Where it begins.
    pub(super) base: String,
    /// How far it goes.
    pub(super) depth: Depth,
    /// The encoded filter.
    pub(super) filter: Vec<u8>,
    /// The attributes that are wanted.
    pub(super) attributes: Vec<String>,
    /// The most entries that are wanted.
    pub(super) most: u32,
    /// How long the server may look, in seconds.
    pub(super) seconds: u32,
    /// What it is for, in messages.
    pub(super) step: Step,
}

/// What is asked.
#[derive(Clone, Copy)]
pub(super) enum Request<'of> {
    /// To be somebody.
    Bind { name: &'of str, password: &'of str },
    /// For entries.
    Search(&'of Search),
    /// For TLS.
    StartTls,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// The result code of RFC 4511, section 4.1.9.
    pub(super) code: u32,
    /// What the server remarks.
    pub(super) remark: String,
    /// What the password policy objects to, which can be although the code is 0, by its number.
    pub(super) objection: Option<u32>,
    /// Why a bind was refused, where that is not for the password: told before anything of the remark is left out.
    pub(super) closed: Option<&'static str>,
}

impl Done {
    /// The remark, to be shown: the end of a long one is left out.
    pub(super) fn shown(&self) -> String {
        self.remark.chars().take(LONGEST_REMARK).collect()
    }
}

/// An entry that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its distinguished name.
    pub(super) name: String,
    /// Attributes and their values, as far as they are text.
    pub(super) attributes: Vec<(String, Vec<String>)>,
    /// The attributes that have values which are not kept, because they are not text, or too many.
    pub(super) incomplete: Vec<String>,
}

impl Entry {
    /// The values of an attribute; its name has no case, and the server writes it as it likes.
    pub(super) fn values(&self, attribute: &str) -> impl Iterator<Item = &str> {
        let named = self.attributes.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(attribute));
        named.flat_map(|(_, values)| values.iter().map(String::as_str))
    }

    /// Whether only some of an attribute's values are here. Active Directory gives no more than 1,500, under a name such as
    /// `memberOf;range=0-1499`.
    pub(super) fn is_cut(&self, attribute: &str) -> bool {
        if self.incomplete.iter().any(|name| name.eq_ignore_ascii_case(attribute)) {
            return true;
        }
        self.attributes.iter().any(|(name, _)| {
            let options =
                name.split_at_checked(attribute.len()).filter(|(name, _)| name.eq_ignore_ascii_case(attribute));
            options.is_some_and(|(_, options)| options.to_ascii_lowercase().starts_with(";range="))
        })
    }
}

/// Active Directory's id of an entry, which is bytes and no text: it is kept as hexadecimal digits.
const BINARY_ID: &str = "objectGUID";

/// What a server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// The end of a bind.
    Bind(Done),
    /// One entry of a search.
    Entry(Entry),
    /// Where else could be searched.
    Reference,
    /// The end of a search.
    Search(Done),
    /// The end of an extended request.
    Extended(Done),
}

/// The message with this number.
pub(super) fn encode(id: u32, request: Request<'_>) -> Vec<u8> {
    let (operation, controls) = match request {
        Request::Bind { name, password } => {
            let operation = put(
                0x60,
                &[&put_number(INTEGER, 3), &put(OCTETS, &[name.as_bytes()]), &put(0x80, &[password.as_bytes()])],
            );
            let control = put(SEQUENCE, &[&put(OCTETS, &[PASSWORD_POLICY])]);
            (operation, put(0xa0, &[&control]))
        }
        Request::Search(search) => {
            let attributes: Vec<Vec<u8>> =
                search.attributes.iter().map(|name| put(OCTETS, &[name.as_bytes()])).collect();
            let depth = match search.depth {
                Depth::Base => 0,
                Depth::Subtree => 2,
            };
            let operation = put(
                0x63,
                &[
                    &put(OCTETS, &[search.base.as_bytes()]),
                    &put_number(ENUMERATED, depth),
                    // Aliases are not followed: they lead out of the base.
                    &put_number(ENUMERATED, 0),
                    &put_number(INTEGER, search.most),
                    &put_number(INTEGER, search.seconds),
                    // With values.
                    &put(BOOLEAN, &[&[0]]),
                    &search.filter,
                    &put(SEQUENCE, &[&attributes.concat()]),
                ],
            );
            (operation, Vec::new())
        }
        Request::StartTls => (put(0x77, &[&put(0x80, &[START_TLS])]), Vec::new()),
    };
    put(SEQUENCE, &[&put_number(INTEGER, id), &operation, &controls])
}

/// Reads what a message holds: the number of the request that it answers, and the answer.
///
/// # Errors
/// The message answers nothing that is asked here.
pub(super) fn decode(content: &[u8]) -> Result<(u32, Response), Garbled> {
    let mut message = Reader::new(content);
    let id = number(message.expect(INTEGER)?)?;
    let (tag, body) = message.element()?;
    let mut body = Reader::new(body);
    let response = match tag {
        0x61 => Response::Bind(Done { objection: objection(message)?, ..done(body)? }),
        0x64 => Response::Entry(entry(&mut body)?),
        0x65 => Response::Search(done(body)?),
        0x73 => Response::Reference,
        0x78 => Response::Extended(done(body)?),
        _ => return Err(Garbled("a message of a kind that was not asked for")),
    };
    Ok((id, response))
}

fn done(mut body: Reader<'_>) -> Result<Done, Garbled> {
    let code = number(body.expect(ENUMERATED)?)?;
    let _matched = body.expect(OCTETS)?;
    let remark = String::from_utf8_lossy(body.expect(OCTETS)?);
    Ok(Done { code, remark: remark.trim_end_matches('\0').to_owned(), objection: None, closed: None })
}

fn entry(body: &mut Reader<'_>) -> Result<Entry, Garbled> {
    let name = text(body.expect(OCTETS)?)?;
    let mut list = Reader::new(body.expect(SEQUENCE)?);
    let mut attributes = Vec::new();
    let mut incomplete = Vec::new();
    let mut room = MAX_VALUES;
    while !list.is_empty() {
        let mut attribute = Reader::new(list.expect(SEQUENCE)?);
        let kind = text(attribute.expect(OCTETS)?)?;
        let mut set = Reader::new(attribute.expect(SET)?);
        let mut values = Vec::new();
        while !set.is_empty() {
            let value = set.expect(OCTETS)?;
            let value = match kind.eq_ignore_ascii_case(BINARY_ID) {
                true => Ok(value.iter().map(|byte| format!("{byte:02x}")).collect()),
                false => text(value),
            };
            match value {
                Ok(value) if room > 0 => {
                    room -= 1;
                    values.push(value);
                }
                // Left out without a word, it could be the value by which a rule refuses.
                Ok(_) | Err(_) if incomplete.last() != Some(&kind) => incomplete.push(kind.clone()),
                Ok(_) | Err(_) => {}
            }
        }
        attributes.push((kind, values));
    }
    Ok(Entry { name, attributes, incomplete })
}

/// What the password policy objects to, in the controls that follow a bind's answer.
fn objection(mut message: Reader<'_>) -> Result<Option<u32>, Garbled> {
    let Some(controls) = message.optional(0xa0)? else { return Ok(None) };
    let mut controls = Reader::new(controls);
    while !controls.is_empty() {
        let mut control = Reader::new(controls.expect(SEQUENCE)?);
        let kind = control.expect(OCTETS)?;
        let _critical = control.optional(BOOLEAN)?;
        let Some(value) = control.optional(OCTETS)? else { continue };
        if kind != PASSWORD_POLICY {
            continue;
        }
        let mut value = Reader::new(Reader::new(value).expect(SEQUENCE)?);
        let _warning = value.optional(0xa0)?;
        if let Some(objection) = value.optional(0x81)? {
            return number(objection).map(Some);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(id: u32, parts: &[&[u8]]) -> Vec<u8> {
        [&put_number(INTEGER, id), parts.concat().as_slice()].concat()
    }

    fn result(tag: u8, code: u32, remark: &str) -> Vec<u8> {
        put(tag, &[&put_number(ENUMERATED, code), &put(OCTETS, &[]), &put(OCTETS, &[remark.as_bytes()])])
    }

    #[test]
    fn answers_are_read() {
        let plain = |code, remark: &str| Done { code, remark: remark.to_owned(), objection: None, closed: None };
        for (operation, expected) in [
            (result(0x61, 49, "no\0"), Response::Bind(plain(49, "no"))),
            (result(0x65, 0, ""), Response::Search(plain(0, ""))),
            (result(0x78, 2, "x"), Response::Extended(plain(2, "x"))),
            (put(0x73, &[&put(OCTETS, &[b"ldap://elsewhere"])]), Response::Reference),
        ] {
            assert_eq!(decode(&reply(7, &[&operation])), Ok((7, expected)));
        }
        let long = decode(&reply(1, &[&result(0x61, 1, &"ö".repeat(5000))]));
        assert!(matches!(long, Ok((1, Response::Bind(done))) if done.shown().chars().count() == LONGEST_REMARK));
    }

    #[test]
    fn an_entrys_values_are_found_whatever_the_case_of_the_attribute() {
        let values =
            put(SET, &[&put(OCTETS, &[b"Dev"]), &put(OCTETS, &[&[0xff, 0xfe]]), &put(OCTETS, &["ö".as_bytes()])]);
        let attribute = put(SEQUENCE, &[&put(OCTETS, &[b"Title"]), &values]);
        let found = put(0x64, &[&put(OCTETS, &[b"uid=a,dc=x"]), &put(SEQUENCE, &[&attribute])]);
        let Ok((3, Response::Entry(entry))) = decode(&reply(3, &[&found])) else { unreachable!() };
        assert_eq!(entry.name, "uid=a,dc=x");
        assert_eq!(entry.values("TITLE").collect::<Vec<_>>(), ["Dev", "ö"]);
        assert_eq!(entry.values("mail").count(), 0);
    }

    #[test]
    fn a_part_of_the_values_is_seen_to_be_one() {
        let entry = |name: &str| Entry { attributes: vec![(name.to_owned(), Vec::new())], ..Entry::default() };
        for (name, expected) in [
            ("memberOf;range=0-1499", true),
            ("MEMBEROF;Range=0-9", true),
            ("memberOf", false),
            ("memberOf;lang-de", false),
        ] {
            assert_eq!(entry(name).is_cut("memberOf"), expected, "{name}");
        }
        assert!(!entry("memberOfAll;range=0-9").is_cut("memberOf"));
    }

    #[test]
    fn values_that_are_no_text_or_too_many_are_not_left_out_without_a_word() {
        let entry_of = |values: &[&[u8]]| {
            let values: Vec<Vec<u8>> = values.iter().map(|value| put(OCTETS, &[value])).collect();
            let attribute = put(SEQUENCE, &[&put(OCTETS, &[b"memberOf"]), &put(SET, &[&values.concat()])]);
            let body = [put(OCTETS, &[b"uid=a"]), put(SEQUENCE, &[&attribute])].concat();
            entry(&mut Reader::new(&body))
        };
        let many = vec![b"x".as_slice(); MAX_VALUES + 1];
        for (values, kept, cut) in [
            (&[b"devs".as_slice()][..], 1, false),
            (&[b"devs".as_slice(), b"adm\xe9"], 1, true),
            (&many, MAX_VALUES, true),
            (many.get(1..).unwrap_or_default(), MAX_VALUES, false),
        ] {
            let read = entry_of(values).map(|entry| (entry.values("memberof").count(), entry.is_cut("MemberOf")));
            assert_eq!(read, Ok((kept, cut)), "{} values", values.len());
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_read_is_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            drop(decode(&bytes));
            drop(decode(&reply(1, &[&put(0x64, &[&bytes])])));
            drop(decode(&reply(1, &[&result(0x61, 0, ""), &put(0xa0, &[&bytes])])));
        }
    }

    #[test]
    fn the_objection_of_a_password_policy_is_seen_beside_a_success() {
        let control = |kind: &[u8], value: &[u8]| put(SEQUENCE, &[&put(OCTETS, &[kind]), &put(OCTETS, &[value])]);
        let policy = put(SEQUENCE, &[&put(0xa0, &[&put(0x80, &[&[5]])]), &put(0x81, &[&[2]])]);
        let controls = put(0xa0, &[&control(b"1.2.3", b"junk"), &control(PASSWORD_POLICY, &policy)]);
        let said = decode(&reply(1, &[&result(0x61, 0, ""), &controls]));
        assert_eq!(
            said,
            Ok((1, Response::Bind(Done { code: 0, remark: String::new(), objection: Some(2), closed: None })))
        );
        let nothing = put(0xa0, &[&control(PASSWORD_POLICY, &put(SEQUENCE, &[]))]);
        let said = decode(&reply(1, &[&result(0x61, 0, ""), &nothing]));
        assert!(matches!(said, Ok((1, Response::Bind(Done { objection: None, .. })))));
    }

    #[test]
    fn nested_sequences_without_end_are_an_error() {
        // 100,000 sequences within each other, whose lengths are right.
        let depth = 100_000_u32;
        let nested: Vec<u8> =
            (0..depth).rev().flat_map(|level| [[0x30, 0x84].as_slice(), &(level * 6).to_be_bytes()].concat()).collect();
        assert!(decode(&nested).is_err());
        assert!(decode(&reply(1, &[&put(0x64, &[&put(OCTETS, &[b"dc=x"]), &nested])])).is_err());
    }

    #[test]
    fn what_nobody_asked_for_is_an_error() {
        for message in [
            [].as_slice(),
            &reply(1, &[]),
            &reply(1, &[&[0x30, 0]]),
            &reply(1, &[&put(0x61, &[])]),
            &reply(1, &[&put(0x6f, &[])]),
            &reply(1, &[&result(0x61, 0, ""), &[0xa0, 9]]),
            &result(0x61, 0, ""),
        ] {
            assert!(decode(message).is_err(), "{message:?}");
        }
    }
}
