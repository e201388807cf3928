//! PEM text, whole and damaged.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Vec<(String, Vec<u8>, Layout)> {
    let blocks = blocks(text.as_bytes(), PairFile::Key).map_err(|problem| format!("{text:?}: {problem}")).unwrap();
    blocks.into_iter().map(|b| (b.label, b.der, b.layout)).collect()
}

#[test]
fn blocks_are_found_whatever_is_around_them() {
    let block = |begin| vec![("A B".to_owned(), b"hello".to_vec(), begin)];
    for (text, expected) in [
        ("-----BEGIN A B-----\naGVsbG8=\n-----END A B-----\n", block(Layout::Usual)),
        ("-----BEGIN A B-----\r\naGVs\r\nbG8=\r\n-----END A B-----\r\n", block(Layout::Usual)),
        // Go, and so every registry, wants the padding.
        ("-----BEGIN A B-----\naGVsbG8\n-----END A B-----", block(Layout::Mended)),
        ("words: first\n\n-----BEGIN A B-----  \naGVsbG8=\n\n-----END A B-----\nlast", block(Layout::Usual)),
        ("\u{feff}-----BEGIN A B-----\naGVsbG8=\n-----END A B-----\n", block(Layout::AfterSomething)),
        ("  -----BEGIN A B-----\n  aGVsbG8=\n  -----END A B-----\n", block(Layout::AfterSomething)),
        ("-----BEGIN A B-----\nName: value\n\naGVsbG8=\n-----END A B-----\n", block(Layout::Usual)),
    ] {
        assert_eq!(read(text), expected, "{text:?}");
    }
}

#[test]
fn line_breaks_that_were_lost_are_put_back() {
    let whole = "-----BEGIN A B-----\naGVs\nbG8=\n-----END A B-----\n-----BEGIN C-----\naGVsbG8=\n-----END C-----\n";
    let labels = [("A B".to_owned(), 1), ("C".to_owned(), 1)];
    for text in [
        whole.replace('\n', " "),
        whole.replace('\n', ""),
        whole.replace('\n', "\r"),
        whole.replace('\n', "\\n"),
        whole.replace('\n', "\\r\\n"),
        whole.replace('\n', "\\\\n"),
        format!("\"{}\"", whole.replace('\n', "\\n")),
        format!("'{}'\n", whole.replace('\n', " ")),
        format!("\u{feff}{}", whole.replace('\n', "\t")),
        format!("Bag Attributes friendlyName: x {}", whole.replace('\n', " ")),
    ] {
        let found = blocks(text.as_bytes(), PairFile::Key).map_err(|problem| format!("{text:?}: {problem}")).unwrap();
        let seen: Vec<_> = found.iter().map(|block| (block.label.clone(), block.line)).collect();
        assert_eq!(seen, labels, "{text:?}");
        assert!(found.iter().all(|block| block.der == b"hello" && block.layout == Layout::Mended), "{text:?}");
    }
    let one = "-----BEGIN A-----\naGVsbG8=\n-----END A-----\n";
    for (text, layout) in [
        (one.replace("-\na", "- a"), Layout::Mended),
        (one.replace("=\n-", "= -"), Layout::Mended),
        (one.replace("Vs", "V\\ns"), Layout::Mended),
        (one.replace("Vs", "V s"), Layout::Usual),
        (one.replace('\n', " \t\r\n"), Layout::Usual),
        (format!("'{one}'"), Layout::AfterSomething),
    ] {
        assert_eq!(read(&text), [("A".to_owned(), b"hello".to_vec(), layout)], "{text:?}");
    }
    // Words about blocks are none.
    let prose = format!("# Put -----BEGIN C----- and all that follows here:\n{one}");
    assert_eq!(read(&prose).len(), 1);
}

#[test]
fn what_is_no_block_is_refused_with_the_reason() {
    let file = PairFile::Key;
    let damaged = |line: usize, what: &str| PemProblem::Damaged {
        file,
        what: format!("the `A` block that begins on line {line} {what}"),
    };
    let wrapped = |what| PemProblem::Wrapped { file, what };
    let cases: &[(&[u8], PemProblem)] = &[
        (b"", PemProblem::Empty(file)),
        (b" \r\n\n", PemProblem::Empty(file)),
        (b"hello", PemProblem::NotPem(file)),
        (b"\x30\x82\x01\xff\x03", PemProblem::Der(file)),
        (b"\x30\x77\x02\x01\xfe", PemProblem::Der(file)),
        (b"0 is a digit", PemProblem::NotPem(file)),
        (b"aGVsbG8=\n", PemProblem::NotPem(file)),
        (
            b"LS0tLS1CRUdJTiBBLS0tLS0KYUdWcwotLS0tLUVORCBB\nLS0tLS0K\n",
            wrapped("base64 of a PEM file; decode it once: base64 -d OLD > NEW"),
        ),
        (b"{\"kty\": \"EC\"}", wrapped("JSON; write the PEM text alone into it")),
        (
            b"export TOKEN_KEY=\"MHcCAQ\"\n",
            wrapped(
                "an environment variable (NAME=\u{2026}); write what stands after the = alone into it, as PEM text",
            ),
        ),
        (b"\xff\xfe-\0-\0", PemProblem::Utf16(file)),
        (b"-\0-\0-\0-\0-\0B\0", PemProblem::Utf16(file)),
        (b"\0-\0-\0-\0-\0-\0B", PemProblem::Utf16(file)),
        // What stands where a label should is not taken for one, nor shown.
        (b"-----BEGIN PRIVATE KEY MIGHAgEAMBMGByqGSM49-----\n", PemProblem::NotPem(file)),
        (
            b"-----BEGIN A----- aGVs bG8=",
            damaged(1, "has no END line, and has no line breaks: a secret store or an environment variable took them"),
        ),
        (b"-----BEGIN A-----\naGVs", damaged(1, "has no END line")),
        (b"\n-----BEGIN A-----\naGVs\n-----END B-----\n", damaged(2, "ends with an END line for `B`")),
        (b"-----BEGIN A-----\n-----BEGIN A-----\n", damaged(1, "has no END line before the next BEGIN")),
        (b"-----BEGIN A-----\na?Vs\n-----END A-----\n", damaged(1, "is not base64")),
        (b"-----BEGIN A-----\n-----END A-----\n", damaged(1, "has nothing in it")),
    ];
    for (bytes, expected) in cases {
        assert_eq!(blocks(bytes, file).err().as_ref(), Some(expected), "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn old_encrypted_blocks_are_told_by_their_headers() {
    let text = b"-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: X,00\n\naGVs\n-----END A-----\n";
    let found = blocks(text, PairFile::Key).unwrap();
    assert_eq!(found[0].headers, Headers::Encrypted);
    assert!(found[0].der.is_empty());
}

proptest! {
    #[test]
    fn written_blocks_are_read_back(der in proptest::collection::vec(any::<u8>(), 1..300)) {
        let text = write("SOME THING", &der);
        prop_assert!(text.lines().all(|line| line.len() <= 64));
        prop_assert_eq!(read(&text), vec![("SOME THING".to_owned(), der, Layout::Usual)]);
    }

    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), tail in "(-----(BEGIN|END) [AB]-----|[a-z:=]{0,5}|\\r?\\n){0,9}") {
        let mut all = bytes;
        all.extend_from_slice(tail.as_bytes());
        let _ = blocks(&all, PairFile::Certificate);
        let _ = blocks(tail.as_bytes(), PairFile::Certificate);
    }
}
