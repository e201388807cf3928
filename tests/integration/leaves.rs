//! Leaves under an authority for tokens, in a server: which tokens our own doors take, which keys the JWK set shows, when
//! tokens end, and what is renewed by itself.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dockwarden::app::{Reload, Step};
use dockwarden::keys::{Authority, GeneratedPair, IssuingAuthority, SigningKey, generate, generate_authority};
use jsonwebtoken::Algorithm;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::bed::{ALICE, Bed, Folder, pair};

const ASK: &str = "/auth?service=registry&scope=repository:alice/app:pull";
/// The token section, with what is to be added to it, and a door.
const DOOR: &str = "forward_auth: {trusted_proxies: [192.0.2.1], service: registry}\n";

fn config(more: &str) -> String {
    let leaf = "certificate: $DIR/leaf.crt, key: $DIR/leaf.key";
    format!("token: {{issuer: Acme, services: [registry], {leaf}, {more}}}\n{DOOR}")
}

/// We make the leaves; somebody else does.
const OURS: &str = "authority: {certificate: $DIR/ca.crt, key: $DIR/ca.key}";
const ELSEWHERE: &str = "authority: {certificate: $DIR/ca.crt}";

struct Top(GeneratedPair);

impl Top {
    fn new() -> Top {
        let made = now() - Duration::days(100);
        Top(generate_authority(Algorithm::ES256, "top", made).unwrap())
    }

    fn leaf_made(&self, ago: Duration) -> GeneratedPair {
        let issuing = IssuingAuthority::from_pem(self.0.certificate_pem.as_bytes(), self.0.key_pem.as_bytes());
        issuing.unwrap_or_else(|problems| panic!("{problems:?}")).leaf(Algorithm::ES256, "Acme", now() - ago).unwrap()
    }

    fn leaf(&self) -> GeneratedPair {
        self.leaf_made(Duration::ZERO)
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn put(folder: &Folder, top: &Top, leaf: &GeneratedPair) {
    for (name, text) in [
        ("ca.crt", &top.0.certificate_pem),
        ("ca.key", &top.0.key_pem),
        ("leaf.crt", &leaf.certificate_pem),
        ("leaf.key", &leaf.key_pem),
    ] {
        folder.put(name, text);
    }
}

fn bed(top: &Top, leaf: &GeneratedPair, more: &str) -> Bed {
    let folder = Folder::new();
    put(&folder, top, leaf);
    Bed::in_folder(folder, &config(more))
}

fn swap(bed: &Bed, leaf: &GeneratedPair) {
    bed.folder.put("leaf.crt", &leaf.certificate_pem);
    bed.folder.put("leaf.key", &leaf.key_pem);
    assert_eq!(bed.app.reload(), Reload::Done);
}

async fn token(bed: &Bed) -> String {
    bed.get(ASK).by(ALICE).send().await.ok().token()
}

/// What our door says to a token.
async fn door(bed: &Bed, token: &str) -> u16 {
    let about = bed.get("/forward_auth").header("x-original-method", "GET");
    let about = about.header("x-original-uri", "/v2/alice/app/manifests/v1");
    about.header("authorization", &format!("Bearer {token}")).send().await.status
}

/// The ids in the JWK set, in order, those of the second form left out.
async fn kids(bed: &Bed) -> Vec<String> {
    let set = bed.get("/.well-known/jwks.json").send().await.json();
    let keys = set["keys"].as_array().unwrap();
    keys.iter().step_by(2).map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn part(token: &str, number: usize) -> Value {
    let text = URL_SAFE_NO_PAD.decode(token.split('.').nth(number).unwrap()).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn kid(token: &str) -> String {
    part(token, 0)["kid"].as_str().unwrap().to_owned()
}

fn claims(token: &str) -> Value {
    part(token, 1)
}

async fn metric(bed: &Bed, name: &str) -> String {
    let text = bed.get("/metrics").send().await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Check 45. By the key in memory where tokens name it by id alone, by the leaf in the token after a restart and for other
/// replicas.
#[tokio::test]
async fn an_old_leafs_token_is_good_at_our_doors_until_it_ends() {
    let top = Top::new();
    for more in
        [ELSEWHERE.to_owned(), OURS.to_owned(), format!("{OURS}, header: kid"), format!("{ELSEWHERE}, header: kid")]
    {
        let bed = bed(&top, &top.leaf(), &more);
        let first = token(&bed).await;
        swap(&bed, &top.leaf());
        let second = token(&bed).await;
        swap(&bed, &top.leaf());
        let third = token(&bed).await;
        assert!(kid(&first) != kid(&second) && kid(&second) != kid(&third), "{more}");
        for token in [&first, &second, &third] {
            assert_eq!(door(&bed, token).await, 200, "{more}");
        }
        assert_eq!(kids(&bed).await, [kid(&third), kid(&first), kid(&second)], "{more}");
        // A reload of something else forgets none.
        bed.folder.configure(&config(&format!("{more}, expiration: 600")));
        assert_eq!(bed.app.reload(), Reload::Done);
        assert_eq!((door(&bed, &first).await, kids(&bed).await.len()), (200, 3), "{more}");
        // Another process knows what the tokens bring along.
        let other = self::bed(&top, &top.leaf(), &more);
        let expected = if more.contains("kid") { 401 } else { 200 };
        assert_eq!(door(&other, &third).await, expected, "{more}");
    }
}

#[tokio::test]
async fn what_the_authority_has_not_signed_is_nobodys_token() {
    let (top, other) = (Top::new(), Top::new());
    let ours = bed(&top, &top.leaf(), ELSEWHERE);
    let token_of = async |top: &Top, leaf: &GeneratedPair| token(&bed(top, leaf, ELSEWHERE)).await;
    assert_eq!(door(&ours, &token_of(&top, &top.leaf()).await).await, 200);
    assert_eq!(door(&ours, &token_of(&other, &other.leaf()).await).await, 401, "another authority's leaf");
    // Without an authority there is no key but the one that signs.
    let alone = Bed::with(DOOR);
    assert_eq!(door(&alone, &token_of(&top, &top.leaf()).await).await, 401);
    // The right certificate, and another key's signature below it.
    let stolen = token_of(&top, &top.leaf()).await;
    let (head, _) = stolen.rsplit_once('.').unwrap();
    let (_, signature) =
        token_of(&other, &other.leaf()).await.rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!(door(&ours, &format!("{head}.{signature}")).await, 401);
}

/// A leaf that was replaced signs nothing new: whoever stole its key has the tokens that there were. (Where tokens bring their
/// leaf, a stolen one counts until it ends, as for registries; then a new authority is needed, as here.)
#[tokio::test]
async fn a_replaced_key_makes_no_new_tokens_once_its_authority_is_gone() {
    let (top, new_top) = (Top::new(), Top::new());
    let leaf = top.leaf();
    let ours = bed(&top, &leaf, ELSEWHERE);
    let thief = bed(&top, &leaf, ELSEWHERE);
    let old = token(&ours).await;
    put(&ours.folder, &new_top, &new_top.leaf());
    assert_eq!(ours.app.reload(), Reload::Done);
    assert_eq!(door(&ours, &old).await, 200, "an authority may be changed without haste");
    let forged = thief_at(&thief, Duration::seconds(30));
    assert_eq!(door(&ours, &forged).await, 401, "dated after the key was replaced");
    // In haste: with the moment in the same change as the new leaf, or later.
    let moment = now().replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
    ours.folder.configure(&config(&format!("{ELSEWHERE}, not_before: \"{moment}\"")));
    assert_eq!(ours.app.reload(), Reload::Done);
    for token in [&old, &thief_at(&thief, Duration::ZERO), &thief_at(&thief, Duration::seconds(5))] {
        assert_eq!(door(&ours, token).await, 401);
    }
    // What is replaced after that is not stolen.
    let new = token(&ours).await;
    swap(&ours, &new_top.leaf());
    assert_eq!((door(&ours, &new).await, kids(&ours).await.len()), (200, 2));
}

/// By the date alone, whoever signed.
#[tokio::test]
async fn a_token_from_before_the_moment_is_refused_and_one_from_its_second_is_not() {
    let top = Top::new();
    for (more, folder) in [("", Folder::new()), (ELSEWHERE, Folder::new())] {
        put(&folder, &top, &top.leaf());
        let bed = Bed::in_folder(folder, &config(more));
        let old = token(&bed).await;
        let made = claims(&old)["iat"].as_i64().unwrap();
        for (moment, expected) in [(made, 200), (made + 1, 401)] {
            while now().unix_timestamp() < moment {
                tokio::task::yield_now().await;
            }
            let moment = OffsetDateTime::from_unix_timestamp(moment).unwrap().format(&Rfc3339).unwrap();
            bed.folder.configure(&config(&format!("not_before: \"{moment}\", {more}")));
            assert_eq!(bed.app.reload(), Reload::Done);
            assert_eq!(door(&bed, &old).await, expected, "{more} {moment}");
            assert_eq!(door(&bed, &token(&bed).await).await, 200);
        }
    }
}

/// A token by the issuer of another server, dated later by so much.
fn thief_at(thief: &Bed, later: Duration) -> String {
    use dockwarden::token::{AccessEntry, TokenContent};
    let snapshot = thief.app.snapshot();
    let access =
        vec![AccessEntry { kind: "repository".into(), name: "alice/app".into(), actions: vec!["pull".into()] }];
    let content = TokenContent { subject: "alice".into(), audience: "registry".into(), access, secret: None };
    let moment = now() + later;
    let mut claims = snapshot.issuer.claims(content, moment, 200, "forged".into());
    claims.nbf -= later.whole_seconds();
    snapshot.issuer.mint(&claims, moment).unwrap()
}

/// Check 46, and what there is to see of it.
#[tokio::test]
async fn no_token_outlives_its_leaf() {
    let top = Top::new();
    for (header, left, life) in [
        ("x5c", Duration::minutes(10), 590..=600),
        ("kid", Duration::minutes(10), 590..=600),
        ("x5c", Duration::seconds(20), 10..=20),
        ("x5c", Duration::days(1), 900..=900),
    ] {
        let leaf = top.leaf_made(Duration::days(30) - left);
        let bed = bed(&top, &leaf, &format!("{ELSEWHERE}, header: {header}, expiration: 15m"));
        let reply = bed.get(ASK).by(ALICE).send().await.ok();
        assert!(life.contains(&reply.life()), "{} where {left} are left, {header}", reply.life());
        // Clients take less for a minute anyway.
        assert_eq!(reply.json()["expires_in"].as_i64(), Some(reply.life().max(60)));
        let is_cut = if reply.life() < 900 { "1.0" } else { "0.0" };
        assert_eq!(metric(&bed, "dockwarden_tokens_cut_short").await, is_cut);
    }
    // Over: registries refuse it, and so do our doors.
    let living = bed(&top, &top.leaf(), ELSEWHERE);
    let over = bed(&top, &top.leaf_made(Duration::days(31)), ELSEWHERE);
    let reply = over.get(ASK).by(ALICE).send().await;
    assert_eq!((reply.status, metric(&over, "dockwarden_header_fallback").await.as_str()), (503, "1.0"));
    assert_eq!(door(&over, &token(&living).await).await, 200, "another replica's leaf is good");
}

#[tokio::test]
async fn a_leaf_is_renewed_when_two_thirds_of_its_life_are_over() {
    let top = Top::new();
    let young = bed(&top, &top.leaf_made(Duration::days(19)), OURS);
    assert!(!young.app.leaf_is_due(now()));
    assert_eq!(young.app.renew_leaf(now()), Step::Nothing);

    let bed = bed(&top, &top.leaf_made(Duration::days(21)), OURS);
    let old = token(&bed).await;
    assert!(bed.app.leaf_is_due(now()));
    assert_eq!(bed.app.renew_leaf(now()), Step::InPlace);
    assert_eq!(bed.app.reload(), Reload::Done);
    assert!(!bed.app.leaf_is_due(now()));
    let new = token(&bed).await;
    assert_ne!(kid(&old), kid(&new));
    assert_eq!((door(&bed, &old).await, door(&bed, &new).await), (200, 200));
    assert_eq!(kids(&bed).await, [kid(&new), kid(&old)]);

    // Where it cannot be written, it signs on. Somebody else's key is in its place, which nobody may overwrite.
    let stuck = self::bed(&top, &top.leaf_made(Duration::days(21)), OURS);
    let before = kid(&token(&stuck).await);
    stuck.folder.put_pair(pair(Algorithm::ES256));
    std::fs::remove_file(stuck.folder.path("ca.key")).unwrap();
    assert_eq!(stuck.app.renew_leaf(now()), Step::Nothing);
    assert_eq!(kid(&token(&stuck).await), before);
}

/// Registries that know keys by a JWK set have to read it before the new key signs.
#[tokio::test]
async fn where_tokens_name_their_key_alone_the_next_one_is_shown_before_it_signs() {
    let top = Top::new();
    let bed = bed(&top, &top.leaf_made(Duration::days(21)), &format!("{OURS}, header: kid"));
    let before = kid(&token(&bed).await);
    assert_eq!(kids(&bed).await, std::slice::from_ref(&before));
    assert_eq!(bed.app.renew_leaf(now()), Step::Nothing);
    let shown = kids(&bed).await;
    assert_eq!((shown.len(), &shown[0]), (2, &before));
    assert_eq!(bed.app.renew_leaf(now()), Step::Nothing);
    assert_eq!((kids(&bed).await, kid(&token(&bed).await)), (shown.clone(), before.clone()));
    // The leaf in place ends within the hour: the next one must sign now.
    assert_eq!(bed.app.renew_leaf(now() + Duration::days(9) - Duration::minutes(30)), Step::InPlace);
    assert_eq!(bed.app.reload(), Reload::Done);
    assert_eq!((kid(&token(&bed).await), kids(&bed).await), (shown[1].clone(), vec![shown[1].clone(), before]));
}

/// A server that goes on for years does not gather keys.
#[tokio::test]
async fn the_keys_that_are_remembered_are_bounded() {
    let top = Top::new();
    let bed = bed(&top, &top.leaf(), ELSEWHERE);
    for _ in 0..20 {
        swap(&bed, &top.leaf());
    }
    assert_eq!(kids(&bed).await.len(), 17);
    // Back to one that signed before: it is there once.
    let one = top.leaf();
    swap(&bed, &one);
    swap(&bed, &top.leaf());
    swap(&bed, &one);
    let shown = kids(&bed).await;
    assert_eq!(shown.iter().filter(|kid| **kid == shown[0]).count(), 1);
}

/// A leaf whose time has not begun waits for it, while the one before it signs.
#[tokio::test]
async fn a_leaf_that_begins_later_does_not_sign_yet() {
    let top = Top::new();
    let bed = bed(&top, &top.leaf(), ELSEWHERE);
    let before = kid(&token(&bed).await);
    let later = top.leaf_made(-Duration::hours(3));
    bed.folder.put("leaf.crt", &later.certificate_pem);
    bed.folder.put("leaf.key", &later.key_pem);
    assert_eq!(bed.app.reload(), Reload::Failed);
    assert_eq!(kid(&token(&bed).await), before);
}

/// Moving from a pair alone: its tokens stay good at our doors, and the log does not cry.
#[tokio::test]
async fn a_pair_alone_gives_way_to_a_leaf() {
    let top = Top::new();
    let bed = Bed::with(DOOR);
    let old = token(&bed).await;
    put(&bed.folder, &top, &top.leaf());
    bed.folder.configure(&config(ELSEWHERE));
    assert_eq!(bed.app.reload(), Reload::Done);
    assert_eq!((door(&bed, &old).await, door(&bed, &token(&bed).await).await), (200, 200));
}

#[test]
fn an_authority_and_a_leaf_are_made_at_the_start_and_nothing_is_replaced() {
    let folder = Folder::new();
    let file =
        folder.configure(&config("authority: {certificate: $DIR/new/ca.crt, key: $DIR/new/ca.key, generate: true}"));
    let source = dockwarden::app::Source { file, variables: Vec::new() };
    let read = |name: &str| std::fs::read(folder.path(name)).unwrap();
    source.load_and_make_key().unwrap();
    let (authority, leaf) = (read("new/ca.crt"), read("leaf.crt"));
    let (trusted, warnings) = Authority::from_pem(&authority).unwrap();
    assert_eq!(warnings, []);
    SigningKey::from_pem(&read("leaf.key"), &leaf).unwrap().under(&trusted).unwrap();
    source.load_and_make_key().unwrap();
    assert_eq!((read("new/ca.crt"), read("leaf.crt")), (authority.clone(), leaf.clone()));
    // One that is over is made anew, under the same authority.
    let top = Top::new();
    put(&folder, &top, &top.leaf_made(Duration::days(31)));
    folder.configure(&config(OURS));
    let before = read("leaf.crt");
    source.load_and_make_key().unwrap();
    assert_ne!(read("leaf.crt"), before);
    // Somebody's pair stays, whatever it is.
    let alone = generate(Algorithm::ES256, "mine", now()).unwrap();
    put(&folder, &top, &alone);
    let told = format!("{:#}", source.load_and_make_key().err().unwrap());
    assert!(told.contains("token.certificate: the certificate of CN=mine is not from token.authority"), "{told}");
    assert_eq!(read("leaf.key"), alone.key_pem.into_bytes());
}
