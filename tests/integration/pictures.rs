//! The pictures of pages in `docs/images`, which a test in a browser makes: each is shown on a page of the documentation, with words for who
//! does not see it, and all of them are small.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A picture, and all of them, in bytes.
const LARGEST: u64 = 40_000;
const ALL: u64 = 600_000;
/// The fewest words that say what is seen.
const FEWEST_WORDS: usize = 5;

fn files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_picture_is_small_and_shown_with_words() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut shown = BTreeSet::new();
    for page in ["start", "how-to", "reference", "explain"].into_iter().flat_map(|part| files(&docs.join(part))) {
        if page.extension().is_none_or(|kind| kind != "md") {
            continue;
        }
        let text = fs::read_to_string(&page).unwrap();
        for picture in text.split("![").skip(1) {
            let (words, rest) = picture.split_once("](").unwrap();
            let target = rest.split(')').next().unwrap();
            if let Some(name) = target.strip_prefix("../images/") {
                assert!(words.split_whitespace().count() >= FEWEST_WORDS, "{}: {name}: {words}", page.display());
                assert!(shown.insert(name.to_owned()), "{}: {name} is shown twice", page.display());
            }
        }
    }
    let mut all = 0;
    let mut made = BTreeSet::new();
    for file in files(&docs.join("images")) {
        let size = file.metadata().unwrap().len();
        assert!(size < LARGEST, "{}: {size} bytes", file.display());
        all += size;
        made.insert(file.file_name().unwrap().to_str().unwrap().to_owned());
    }
    assert_eq!(made, shown, "pictures, and those that pages show");
    assert!(all < ALL, "{all} bytes of pictures");
}
