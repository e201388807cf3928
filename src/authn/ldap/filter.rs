//! Search filters (RFC 4515) with places for the account: read once, and never put together from text again.
//!
//! What a client typed becomes the bytes of one value in the encoded filter. There is no text in which it could close a
//! bracket or be a wildcard.

mod parse;

use super::ber::{OCTETS, SEQUENCE, put};

/// The matching rule of Active Directory that follows a chain of groups within groups.
pub(super) const IN_CHAIN: &str = "1.2.840.113556.1.4.1941";

/// An attribute that every entry has.
const EVERY_ENTRY: &str = "objectClass";

/// A filter with places for the account and for a distinguished name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter(Part);

/// What a place in a filter stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `${account}`.
    Account,
    /// `${dn}`: the name of the entry that was found for the account.
    Name,
}

/// What is put into the places.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filling<'text> {
    /// For `${account}`.
    pub(super) account: &'text str,
    /// For `${dn}`.
    pub(super) name: &'text str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    All(Vec<Part>),
    Any(Vec<Part>),
    Not(Box<Part>),
    Present(String),
    Compare { how: Comparison, attribute: String, value: Value },
    Pieces { attribute: String, first: Option<Value>, middle: Vec<Value>, last: Option<Value> },
    Rule { rule: Option<String>, attribute: Option<String>, with_name: bool, value: Value },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    AtLeast,
    AtMost,
    About,
}

/// A value with places in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Value(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    Place(Place),
}

impl Filter {
    /// Reads a filter in which these places may stand.
    ///
    /// # Errors
    /// The text is not a filter; says what to write instead.
    pub(super) fn parse(text: &str, places: &[Place]) -> Result<Filter, String> {
        parse::filter(text, places).map(Filter)
    }

    /// The filter as the server reads it.
    pub(super) fn encode(&self, with: Filling<'_>) -> Vec<u8> {
        self.0.encode(with)
    }

    /// The filter as a person reads it, each value escaped (RFC 4515, section 3).
    pub(super) fn text(&self, with: Filling<'_>) -> String {
        let mut out = String::new();
        self.0.write(with, &mut out);
        out
    }

    /// The filter that finds whatever this one could find for anybody, encoded: where it compares something with a place,
    /// that something has any value at all.
    pub(super) fn encode_for_anybody(&self) -> Vec<u8> {
        self.0.for_anybody().encode(Filling::default())
    }

    /// Whether the place stands anywhere in it.
    pub(super) fn has(&self, place: Place) -> bool {
        self.0.has(place)
    }

    /// The attributes that are compared with the account, and what stands around it.
    pub(super) fn account_attributes(&self) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        self.0.account_attributes(&mut found);
        found
    }

    /// The filter with every comparison with `${dn}` made by Active Directory's rule for nested groups.
    ///
    /// # Errors
    /// There is no such comparison.
    pub(super) fn in_chain(mut self) -> Result<Filter, String> {
        match self.0.follow_chain() {
            0 => Err("nested groups are found by a comparison with the entry's name; write (member=${dn})".to_owned()),
            _ => Ok(self),
        }
    }
}

impl Part {
    fn encode(&self, with: Filling<'_>) -> Vec<u8> {
        let all = |tag, parts: &[Part]| {
            let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.encode(with)).collect();
            put(tag, &[&parts.concat()])
        };
        match self {
            Part::All(parts) => all(0xa0, parts),
            Part::Any(parts) => all(0xa1, parts),
            Part::Not(part) => put(0xa2, &[&part.encode(with)]),
            Part::Present(attribute) => put(0x87, &[attribute.as_bytes()]),
            Part::Compare { how, attribute, value } => {
                let tag = match how {
                    Comparison::Equal => 0xa3,
                    Comparison::AtLeast => 0xa5,
                    Comparison::AtMost => 0xa6,
                    Comparison::About => 0xa8,
                };
                put(tag, &[&put(OCTETS, &[attribute.as_bytes()]), &put(OCTETS, &[&value.fill(with)])])
            }
            Part::Pieces { attribute, first, middle, last } => {
                let one = |tag, value: &Value| put(tag, &[&value.fill(with)]);
                let first = first.iter().map(|value| one(0x80, value));
                let middle = middle.iter().map(|value| one(0x81, value));
                let last = last.iter().map(|value| one(0x82, value));
                let pieces: Vec<Vec<u8>> = first.chain(middle).chain(last).collect();
                put(0xa4, &[&put(OCTETS, &[attribute.as_bytes()]), &put(SEQUENCE, &[&pieces.concat()])])
            }
            Part::Rule { rule, attribute, with_name, value } => {
                let rule = rule.iter().map(|rule| put(0x81, &[rule.as_bytes()])).next().unwrap_or_default();
                let attribute = attribute.iter().map(|name| put(0x82, &[name.as_bytes()])).next().unwrap_or_default();
                let with_name = if *with_name { put(0x84, &[&[0xff]]) } else { Vec::new() };
                put(0xa9, &[&rule, &attribute, &put(0x83, &[&value.fill(with)]), &with_name])
            }
        }
    }

    fn write(&self, with: Filling<'_>, out: &mut String) {
        let mut all = |sign: &str, parts: &[Part]| {
            out.push_str(sign);
            parts.iter().for_each(|part| part.write(with, out));
            out.push(')');
        };
        match self {
            Part::All(parts) => all("(&", parts),
            Part::Any(parts) => all("(|", parts),
            Part::Not(part) => all("(!", std::slice::from_ref(part)),
            Part::Present(attribute) => out.push_str(&format!("({attribute}=*)")),
            Part::Compare { how, attribute, value } => {
                let sign = match how {
                    Comparison::Equal => "=",
                    Comparison::AtLeast => ">=",
                    Comparison::AtMost => "<=",
                    Comparison::About => "~=",
                };
                out.push_str(&format!("({attribute}{sign}{})", value.text(with)));
            }
            Part::Pieces { attribute, first, middle, last } => {
                let text = |value: &Option<Value>| value.as_ref().map_or_else(String::new, |value| value.text(with));
                out.push_str(&format!("({attribute}={}*", text(first)));
                middle.iter().for_each(|value| out.push_str(&format!("{}*", value.text(with))));
                out.push_str(&format!("{})", text(last)));
            }
            Part::Rule { rule, attribute, with_name, value } => {
                let attribute = attribute.as_deref().unwrap_or_default();
                let with_name = if *with_name { ":dn" } else { "" };
                let rule = rule.as_ref().map_or_else(String::new, |rule| format!(":{rule}"));
                out.push_str(&format!("({attribute}{with_name}{rule}:={})", value.text(with)));
            }
        }
    }

    fn for_anybody(&self) -> Part {
        let all = |parts: &[Part]| parts.iter().map(Part::for_anybody).collect();
        if !self.has(Place::Account) && !self.has(Place::Name) {
            return self.clone();
        }
        match self {
            Part::All(parts) => Part::All(all(parts)),
            Part::Any(parts) => Part::Any(all(parts)),
            Part::Compare { attribute, .. }
            | Part::Pieces { attribute, .. }
            | Part::Rule { attribute: Some(attribute), .. } => Part::Present(attribute.clone()),
            // What somebody must not be, somebody else is not.
            Part::Not(_) | Part::Rule { attribute: None, .. } => Part::Present(EVERY_ENTRY.to_owned()),
            Part::Present(_) => self.clone(),
        }
    }

    fn has(&self, place: Place) -> bool {
        match self {
            Part::All(parts) | Part::Any(parts) => parts.iter().any(|part| part.has(place)),
            Part::Not(part) => part.has(place),
            Part::Present(_) => false,
            Part::Compare { value, .. } | Part::Rule { value, .. } => value.has(place),
            Part::Pieces { first, middle, last, .. } => {
                first.iter().chain(middle).chain(last).any(|value| value.has(place))
            }
        }
    }

    /// Only what an entry has to be for the account: what is under a "not" says what it is not.
    fn account_attributes(&self, found: &mut Vec<(String, Value)>) {
        match self {
            Part::All(parts) | Part::Any(parts) => parts.iter().for_each(|part| part.account_attributes(found)),
            Part::Compare { how: Comparison::Equal | Comparison::About, attribute, value }
                if value.has(Place::Account) =>
            {
                if !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(attribute)) {
                    found.push((attribute.clone(), value.clone()));
                }
            }
            Part::Not(_) | Part::Present(_) | Part::Compare { .. } | Part::Pieces { .. } | Part::Rule { .. } => {}
        }
    }

    fn follow_chain(&mut self) -> usize {
        match self {
            Part::All(parts) | Part::Any(parts) => parts.iter_mut().map(Part::follow_chain).sum(),
            Part::Not(part) => part.follow_chain(),
            Part::Compare { how: Comparison::Equal, attribute, value } if value.is(Place::Name) => {
                *self = Part::Rule {
                    rule: Some(IN_CHAIN.to_owned()),
                    attribute: Some(std::mem::take(attribute)),
                    with_name: false,
                    value: std::mem::take(value),
                };
                1
            }
            Part::Rule { rule: Some(rule), .. } if rule == IN_CHAIN => 1,
            Part::Present(_) | Part::Compare { .. } | Part::Pieces { .. } | Part::Rule { .. } => 0,
        }
    }
}

impl Value {
    fn fill(&self, with: Filling<'_>) -> Vec<u8> {
        self.0.iter().fold(Vec::new(), |mut bytes, piece| {
            bytes.extend_from_slice(piece.bytes(with));
            bytes
        })
    }

    fn text(&self, with: Filling<'_>) -> String {
        let mut text = Vec::new();
        for byte in self.fill(with) {
            match byte {
                b'*' | b'(' | b')' | b'\\' | 0..=0x1f | 0x7f => {
                    text.extend_from_slice(format!("\\{byte:02x}").as_bytes())
                }
                other => text.push(other),
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    fn has(&self, place: Place) -> bool {
        self.0.contains(&Piece::Place(place))
    }

    fn is(&self, place: Place) -> bool {
        matches!(self.0.as_slice(), [Piece::Place(only)] if *only == place)
    }

    /// How the directory writes the account in `found`, a value that it says is equal to this one; nothing if it is not,
    /// but for the case of letters. Directories also call values equal that differ in spaces, or in the form of letters:
    /// such a one is not what was typed.
    pub(super) fn spelling(&self, found: &str, account: &str) -> Option<String> {
        let mut parts = self.0.splitn(2, |piece| *piece == Piece::Place(Place::Account));
        let around = |pieces: &[Piece]| {
            let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes(Filling::default()).to_vec()).collect();
            String::from_utf8(bytes).ok()
        };
        let (before, after) = (around(parts.next()?)?, around(parts.next()?)?);
        let (head, rest) = found.split_at_checked(before.len())?;
        let (middle, tail) = rest.split_at_checked(rest.len().checked_sub(after.len())?)?;
        let same = |one: &str, other: &str| one.to_lowercase() == other.to_lowercase();
        (same(head, &before) && same(tail, &after) && same(middle, account)).then(|| middle.to_owned())
    }
}

impl Piece {
    fn bytes<'of>(&'of self, with: Filling<'of>) -> &'of [u8] {
        match self {
            Piece::Bytes(bytes) => bytes,
            Piece::Place(Place::Account) => with.account.as_bytes(),
            Piece::Place(Place::Name) => with.name.as_bytes(),
        }
    }
}

/// The filter that every entry matches, encoded.
pub(super) fn anything() -> Vec<u8> {
    Part::Present(EVERY_ENTRY.to_owned()).encode(Filling::default())
}

/// Whether the text is an attribute's name, with its options if it has any (RFC 4512, section 2.5).
pub(super) fn is_attribute(text: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | ';' | '.' | '_');
    text.starts_with(|letter: char| letter.is_ascii_alphanumeric()) && text.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[Place] = &[Place::Account, Place::Name];

    fn parse(text: &str) -> Filter {
        match Filter::parse(text, BOTH) {
            Ok(filter) => filter,
            Err(message) => unreachable!("{text}: {message}"),
        }
    }

    #[test]
    fn filters_are_encoded_as_the_standard_has_them() {
        let with = Filling { account: "al", name: "cn=x" };
        for (text, expected) in [
            ("(uid=${account})", b"\xa3\x09\x04\x03uid\x04\x02al".as_slice()),
            ("(cn=*)", b"\x87\x02cn"),
            ("(!(cn=*))", b"\xa2\x04\x87\x02cn"),
            ("(&(cn=*)(sn=*))", b"\xa0\x08\x87\x02cn\x87\x02sn"),
            ("(|(cn=*))", b"\xa1\x04\x87\x02cn"),
            ("(cn>=1)", b"\xa5\x07\x04\x02cn\x04\x011"),
            ("(cn<=1)", b"\xa6\x07\x04\x02cn\x04\x011"),
            ("(cn~=1)", b"\xa8\x07\x04\x02cn\x04\x011"),
            ("(cn=)", b"\xa3\x06\x04\x02cn\x04\x00"),
            ("(cn=a*b*c)", b"\xa4\x0f\x04\x02cn\x30\x09\x80\x01a\x81\x01b\x82\x01c"),
            ("(cn=*${account}*)", b"\xa4\x0a\x04\x02cn\x30\x04\x81\x02al"),
            ("(m:1.2:=${dn})", b"\xa9\x0e\x81\x031.2\x82\x01m\x83\x04cn=x"),
            ("(m:dn:=1)", b"\xa9\x09\x82\x01m\x83\x011\x84\x01\xff"),
            ("(:2.4:=1)", b"\xa9\x08\x81\x032.4\x83\x011"),
        ] {
            assert_eq!(parse(text).encode(with), expected, "{text}");
            let written = parse(text).text(Filling { account: "${account}", name: "${dn}" });
            assert_eq!(written, text);
        }
    }

    #[test]
    fn no_account_changes_the_shape_of_a_filter() {
        let filter = parse("(&(uid=${account})(objectClass=person))");
        for (account, escaped) in [
            ("*", "\\2a"),
            (")(uid=*", "\\29\\28uid=\\2a"),
            ("a\\2a", "a\\5c2a"),
            ("a\0b", "a\\00b"),
            ("${dn}", "${dn}"),
            ("ö", "ö"),
        ] {
            let with = Filling { account, name: "cn=somebody" };
            assert_eq!(filter.text(with), format!("(&(uid={escaped})(objectClass=person))"));
            // The text that people are shown means the same as what the server is sent.
            assert_eq!(
                parse(&filter.text(with).replace("${dn}", "\\24{dn}")).encode(Filling::default()),
                filter.encode(with)
            );
            let value = put(OCTETS, &[account.as_bytes()]);
            assert!(filter.encode(with).windows(value.len()).any(|window| window == value), "{account}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_account_is_one_value_of_a_filter(account in "[ -~ö\0]{0,20}") {
            let filter = parse("(&(uid=${account})(objectClass=person))");
            let shown = filter.text(Filling { account: &account, name: "" }).replace('$', "\\24");
            let read = Filter::parse(&shown, &[]);
            let expected = parse("(&(uid=x)(objectClass=person))");
            let shape = |filter: &Filter| match &filter.0 {
                Part::All(parts) => parts.iter().map(std::mem::discriminant).collect::<Vec<_>>(),
                other => vec![std::mem::discriminant(other)],
            };
            proptest::prop_assert_eq!(read.as_ref().map(shape), Ok(shape(&expected)));
            proptest::prop_assert_eq!(read.map(|read| read.encode(Filling::default())),
                Ok(filter.encode(Filling { account: &account, name: "" })));
        }
    }

    #[test]
    fn nested_groups_are_asked_for_by_active_directorys_rule() {
        let with = Filling { account: "al", name: "CN=Al (2),DC=x" };
        let nested = |text| parse(text).in_chain().map(|filter| filter.text(with));
        assert_eq!(
            nested("(&(objectClass=group)(member=${dn}))").as_deref(),
            Ok("(&(objectClass=group)(member:1.2.840.113556.1.4.1941:=CN=Al \\282\\29,DC=x))")
        );
        assert!(nested("(member:1.2.840.113556.1.4.1941:=${dn})").is_ok(), "written out already");
        for text in ["(memberUid=${account})", "(member=x${dn})", "(member~=${dn})"] {
            assert!(nested(text).is_err_and(|message| message.contains("write (member=${dn})")), "{text}");
        }
    }

    #[test]
    fn the_spelling_is_the_directorys_and_nothing_but_case_may_differ() {
        for (filter, found, account, expected) in [
            ("(uid=${account})", "Alice", "alice", Some("Alice")),
            ("(uid=${account})", "alice", "ALICE", Some("alice")),
            ("(uid=${account})", "ÄGYD", "ägyd", Some("ÄGYD")),
            ("(uid=${account})", "alice", " alice", None),
            ("(uid=${account})", "alice", "alice ", None),
            ("(uid=${account})", "al ice", "al  ice", None),
            ("(uid=${account})", "alice", "ａｌｉｃｅ", None),
            ("(uid=${account})", "bob", "alice", None),
            ("(mail=${account}@x.org)", "Alice@X.org", "alice", Some("Alice")),
            ("(mail=${account}@x.org)", "alice@y.org", "alice", None),
            ("(mail=${account}@x.org)", "@x.org", "alice", None),
            ("(mail=${account}@x.org)", "org", "alice", None),
            ("(mail=ö${account})", "xö", "x", None),
        ] {
            let attributes = parse(filter).account_attributes();
            let spelled = attributes.first().and_then(|(_, value)| value.spelling(found, account));
            assert_eq!(spelled.as_deref(), expected, "{filter}: {found} for {account}");
        }
    }

    #[test]
    fn the_attributes_of_the_account_are_those_it_is_compared_with() {
        let names =
            |text| -> Vec<String> { parse(text).account_attributes().into_iter().map(|(name, _)| name).collect() };
        assert_eq!(
            names("(&(objectClass=person)(|(uid=${account})(mail=${account})(UID=${account})))"),
            ["uid", "mail"]
        );
        assert!(names("(&(cn=*${account}*)(!(uid=${account}))(m=${dn}))").is_empty());
    }

    #[test]
    fn what_anybody_could_be_found_by_is_whatever_has_a_value_there() {
        for (filter, expected) in [
            ("(member=${dn})", "(member=*)"),
            ("(|(member=${dn})(memberUid=${account}))", "(|(member=*)(memberUid=*))"),
            ("(&(objectClass=groupOfNames)(member=${dn}))", "(&(objectClass=groupOfNames)(member=*))"),
            ("(member:1.2.840.113556.1.4.1941:=${dn})", "(member=*)"),
            ("(cn=team-*${account}*)", "(cn=*)"),
            ("(&(cn=a*)(!(member=${dn}))(member=${dn}))", "(&(cn=a*)(objectClass=*)(member=*))"),
        ] {
            let for_anybody = parse(filter).encode_for_anybody();
            assert_eq!(for_anybody, parse(expected).encode(Filling::default()), "{filter}");
        }
    }
}
