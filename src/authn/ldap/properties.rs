//! What holds of every filter, name and message, whoever wrote it. The unit tests ask it of texts made at random; the fuzz
//! target `ldap`, which takes this file and those that it names as they are, of those that it finds.

use super::ber::Reader;
use super::filter::{Filling, Filter, Place};
use super::name::{ACCOUNT, MARK, NameTemplate, pairs};
use super::protocol::{Entry, Response, decode};

/// No account and no entry's name changes what a filter asks, but for the values in which they stand; and the text that
/// people are shown means what the directory is sent.
///
/// # Panics
/// If that is not so.
pub(crate) fn filter_keeps_its_shape(template: &str, account: &str, name: &str) {
    let Ok(filter) = Filter::parse(template, &[Place::Account, Place::Name]) else { return };
    // Neither is ever nothing; (cn=a*${dn}) would then mean the same as (cn=a*), in other bytes.
    if account.is_empty() || name.is_empty() {
        return;
    }
    let with = Filling { account, name };
    let sent = filter.encode(with);
    let plain = filter.encode(Filling { account: "x", name: "x" });
    assert_eq!(tags(&sent), tags(&plain), "{template:?} with {account:?} and {name:?}");
    let shown = filter.text(with);
    // Bytes that are not text are shown as well as they can be.
    if shown.contains(char::REPLACEMENT_CHARACTER) {
        return;
    }
    match Filter::parse(&shown.replace('$', "\\24"), &[]) {
        Ok(read) => assert_eq!(read.encode(Filling::default()), sent, "{shown:?}"),
        Err(message) => unreachable!("{shown:?} is shown for {template:?}, and {message}"),
    }
}

/// The tags of all elements that hold elements, and how many each has: what an encoded filter is, without its values.
fn tags(filter: &[u8]) -> Vec<(u8, usize)> {
    let mut tags = Vec::new();
    let mut open = vec![filter];
    while let Some(content) = open.pop() {
        let mut reader = Reader::new(content);
        let mut inner = Vec::new();
        while !reader.is_empty() {
            let Ok((tag, content)) = reader.element() else { unreachable!("{filter:?} is not a filter") };
            tags.push((tag, inner.len()));
            // Bit 6: made of other elements (X.690, section 8.1.2.5).
            if tag & 0x20 != 0 {
                inner.push(content);
            }
        }
        tags.push((0, inner.len()));
        open.extend(inner);
    }
    tags
}

/// Whatever is put into a distinguished name is one value of it, and reads as what it was.
///
/// # Panics
/// If that is not so.
pub(crate) fn name_keeps_its_place(template: &str, account: &str) {
    let Ok(name) = NameTemplate::parse(template) else { return };
    // Nobody is called so, and a space of the template beside it would mean nothing. MARK stands for the account below.
    if account.is_empty() || template.replace(ACCOUNT, " ").contains("account") {
        return;
    }
    let (filled, plain) = (name.of(account), name.of("x"));
    // A name of Active Directory's kind is not a distinguished name, and has no escapes.
    let Some(expected) = pairs(&plain) else { return };
    let read = pairs(&filled).unwrap_or_default();
    let kinds =
        |pairs: &[(String, Option<String>)]| -> Vec<String> { pairs.iter().map(|pair| pair.0.clone()).collect() };
    assert_eq!(kinds(&read), kinds(&expected), "{filled:?}");
    let marked = pairs(&template.replace(ACCOUNT, MARK)).unwrap_or_default();
    for ((_, value), (_, marked)) in read.iter().zip(&marked) {
        let wanted = marked.as_ref().map(|text| text.replace(MARK, account));
        assert_eq!(*value, wanted, "{filled:?} by {template:?}");
    }
}

/// What a directory sends is read or refused, and no value of an entry is left out without a word.
///
/// # Panics
/// If that is not so.
pub(crate) fn message_is_read_or_refused(content: &[u8]) {
    let Ok((_, response)) = decode(content) else { return };
    match response {
        Response::Entry(Entry { name, attributes, incomplete }) => {
            let held: usize = attributes
                .iter()
                .map(|(kind, values)| kind.len() + values.iter().map(String::len).sum::<usize>())
                .sum();
            assert!(name.len() + held <= content.len(), "more came out than went in");
            assert!(incomplete.iter().all(|cut| attributes.iter().any(|(kind, _)| kind == cut)));
        }
        Response::Bind(done) | Response::Search(done) | Response::Extended(done) => {
            // A byte that is not text is shown as a sign of three bytes.
            assert!(done.remark.len() <= content.len() * 3);
        }
        Response::Reference => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn filters_of_any_account(
            template in r"(\((&|\||!)?)?\([a-z]{1,3}(=|>=|~=|:=|:dn:1.2:=)([a-c*]|\\2a|\\ff|\$\{account\}|\$\{dn\}){0,4}\)\)?",
            account in r"[ -~ö\x00]{0,12}",
            name in r"[ -~ö\x00]{0,12}",
        ) {
            filter_keeps_its_shape(&template, &account, &name);
        }

        #[test]
        fn names_of_any_account(
            template in r"(uid|cn\+sn)=([a-c ,;+#=]|\\2c|\$\{account\}){1,4}(,ou= a ,dc=x)?",
            account in r"[ -~ö\x00]{1,12}",
        ) {
            name_keeps_its_place(&template, &account);
        }

        #[test]
        fn messages_of_any_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            message_is_read_or_refused(&bytes);
        }
    }
}
