//! Random requests that honest clients and attackers send: what they name, written in every way that somebody reads
//! otherwise.

use crate::support::dice::Dice;
use crate::support::http::form_encode;

/// A blob, and its digest.
pub(crate) const BLOB: &[u8] = b"confusion";
pub(crate) const DIGEST: &str = "sha256:32c870923fced53850ca46019948ffac0a578ddd8696ad2c112cdd4ed37a5aa9";

/// A blob that is in `secret/app` alone, and its digest.
pub(crate) const SECRET_BLOB: &[u8] = b"only here";
pub(crate) const SECRET_DIGEST: &str = "sha256:6ddc48e4f033d36ed329c3d4a95c5f0fc0b9efb234ef35e20307215631351c02";

/// Repositories that are there, that are secret, and that are called as parts of a path are.
const REPOSITORIES: &[&str] = &[
    "public/app",
    "public/app",
    "public/app",
    "public/app",
    "public/app",
    "public/app",
    "public/app",
    "web/app",
    "web/app",
    "web/app",
    "web/app",
    "web/app",
    "web/app",
    "web/app",
    "web/other",
    "secret/app",
    "secret/app",
    "secret",
    "public",
    "app",
    "public/app/deep",
    "web/app/manifests",
    "web/blobs",
    "web/tags",
    "public/tags/list",
    "secret/manifests/v1",
    "public/blobs/uploads",
    "_catalog",
    "v2/secret/app",
    "localhost:5000/web/app",
    "public.example/app",
];

const PARTS: &[&str] = &[
    "manifests/v1",
    "manifests/v1",
    "manifests/latest",
    "manifests/sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "blobs/DIGEST",
    "blobs/DIGEST",
    "blobs/uploads/",
    "blobs/uploads/",
    "blobs/uploads/0b1c-2d",
    "tags/list",
    "tags/list",
    "referrers/DIGEST",
];

const ELSEWHERE: &[&str] =
    &["/v2/", "/v2/", "/v2", "/v2/_catalog", "/", "/handbook/", "/handbook/a", "/v1/_ping", "/_dockwarden", "*"];

/// What an attacker puts in the place of a slash.
const SLASHES: &[&str] = &[
    "//",
    "/./",
    "/../",
    "/x/../",
    "\\",
    "%2f",
    "%2F",
    "%5c",
    "%252f",
    ";/",
    "/;/",
    "/;x=y/",
    "/%2e/",
    "/%2e%2e/",
    "/.%2e/",
    "/..%2f",
    "/..;/",
    "%c0%af",
    "%ef%bc%8f",
    "///",
    "/ /",
    "/%20/",
    "/\t/",
    "/%00/",
    "/?/",
    "/#/",
    "/%3f/",
    "/%23/",
    "/..\\",
    "/...//",
    "/~/",
    "/%7e/",
];

/// What is put anywhere.
const PIECES: &[&str] = &[
    "%",
    "%0",
    "%00",
    "%0a",
    "%0d%0a",
    "%20",
    "%61",
    "%2E",
    "%252e",
    "%u002f",
    "+",
    " ",
    ";",
    ";a=b",
    "#",
    "#x",
    "?",
    "??",
    "&",
    "\\",
    "..",
    ".",
    "/",
    "A",
    "\u{fc}",
    "\u{2215}",
    "\u{ff0f}",
    "\u{1}",
    "\u{7f}",
    "\"",
    "<",
    ">",
    "^",
    "`",
    "{",
    "|",
    "}",
    "[",
    "]",
    "@",
    ":",
    "*",
    "~",
    "$",
    "'",
    "!",
    "(",
    "=",
    ",",
    "-",
    "_",
    "__",
    "--",
    "._",
    "%E2%80%AE",
];

const BEGINNINGS: &[&str] = &[
    "/",
    "//",
    "/.",
    "/./",
    "/x/..",
    "/%2e%2e",
    "//host",
    "http://localhost",
    "http://localhost:5000",
    "http://user@localhost",
    "HTTPS://localhost",
    "http:",
    "/handbook/..",
    "/handbook/%2e%2e",
    "/v2/..",
    "/public",
    "localhost",
    "\\",
    "/;",
    "/%",
    "file://",
];

const ENDS: &[&str] = &[
    "/",
    "//",
    "/.",
    "/..",
    "#",
    "#/v2/public/app/tags/list",
    "%23",
    "%3f",
    "?",
    "%00",
    ";",
    "%20",
    " ",
    ".",
    "%2f",
    "\\",
    ".json",
];

pub(crate) const METHODS: &[&str] = &[
    "GET", "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "HEAD", "POST", "POST", "POST", "PUT", "PATCH", "DELETE",
    "OPTIONS", "get", "PROPFIND", "GETX", "COPY",
];

/// Half of the targets are as clients write them, the others are bent in up to three ways.
pub(crate) fn target(dice: &mut Dice) -> String {
    let mut path = match dice.below(12) {
        0 => dice.pick(ELSEWHERE).to_owned(),
        _ => format!("/v2/{}/{}", dice.pick(REPOSITORIES), dice.pick(PARTS)),
    };
    path = path.replace("DIGEST", DIGEST);
    if dice.once_in(2) {
        for _ in 0..=dice.below(3) {
            path = bent(dice, &path);
        }
    }
    match dice.below(3) {
        0 => path + &query(dice),
        _ => path,
    }
}

/// A boundary between two characters.
fn place(dice: &mut Dice, text: &str) -> usize {
    let at = dice.below(text.len() + 1);
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

fn bent(dice: &mut Dice, path: &str) -> String {
    let at = place(dice, path);
    let (before, after) = path.split_at(at);
    let mut next = after.chars();
    let letter = next.next().unwrap_or('/');
    let rest = next.as_str();
    match dice.below(12) {
        // One of the slashes, or each.
        0 | 1 => match path.match_indices('/').nth(dice.below(6)) {
            Some((slash, _)) => format!("{}{}{}", &path[..slash], dice.pick(SLASHES), &path[slash + 1..]),
            None => path.to_owned(),
        },
        2 => path.replace('/', dice.pick(SLASHES)),
        // A letter in another form.
        3 => format!("{before}%{:02x}{rest}", u32::from(letter) & 0xff),
        4 => format!("{before}%{:02X}{rest}", u32::from(letter) & 0xff),
        5 => format!("{before}%25{:02x}{rest}", u32::from(letter) & 0xff),
        6 => format!("{before}{}{rest}", letter.to_uppercase()),
        7 => format!("{before}{}{after}", dice.pick(PIECES)),
        8 => format!("{}{path}", dice.pick(BEGINNINGS)),
        9 => format!("{path}{}", dice.pick(ENDS)),
        // From something open to something secret.
        10 => {
            let up = dice.pick(&["/..", "/%2e%2e", "/.%2E", "/..;", "\\..", "%2f..", "/..%00", "/.%00./"]);
            format!("/v2/public/app{}/secret/app/{}", up.repeat(2), dice.pick(PARTS).replace("DIGEST", DIGEST))
        }
        _ => before.to_owned(),
    }
}

fn query(dice: &mut Dice) -> String {
    let from = dice.pick(&[
        "from", "from", "from", "from", "fro%6D", "%66rom", "From", "FROM", "from[]", " from", "from%00", "f+rom",
        "+from",
    ]);
    let source = dice.pick(REPOSITORIES);
    let source = match dice.below(8) {
        0 | 1 => form_encode(source),
        2 => source.to_uppercase(),
        3 => form_encode(&form_encode(source)),
        4 => format!("{source}{}", dice.pick(PIECES)),
        _ => source.to_owned(),
    };
    let pair = format!("{from}{}{source}", dice.pick(&["=", "=", "=", "=", "==", "%3d", ""]));
    let between = dice.pick(&["&", "&", "&", "&", "&", ";", "&&", "&amp;", "%26", "?", "#", "&%zz&", "&a=%&"]);
    let others = [
        String::new(),
        format!("mount={}", form_encode(DIGEST)),
        format!("mount={}", form_encode(SECRET_DIGEST)),
        "n=10".to_owned(),
        "from=public/app".to_owned(),
        "from=".to_owned(),
        "_method=DELETE".to_owned(),
    ];
    let other = &others[dice.below(others.len())];
    match dice.below(5) {
        0 => format!("?{other}"),
        1 => format!("?{other}{between}{pair}"),
        2 => format!("?{pair}{between}{other}"),
        3 => format!("?{pair}"),
        _ => format!("?{pair}{between}{other}{between}{}", dice.several(PIECES, 3)),
    }
}
