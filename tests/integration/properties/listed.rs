//! Listed if and only if pull is granted: check 39 of the reference, over random directories, rules, accounts and moments.

use std::collections::BTreeSet;
use std::sync::Arc;

use dockwarden::access::{Denied, Names, Run, Viewer};
use dockwarden::app::Reload;
use dockwarden::authn::{Account, Identity, Narrowing};
use policy::cut::Cut;
use policy::pattern::{LabelValue, LabelValues};
use policy::scope::{Action, Scope};
use time::{Duration, OffsetDateTime};

use crate::bed::{ALICE_HASH, BOB_HASH, Bed, Folder, Reply};
use crate::search::fill;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn some<T: Copy>(&mut self, of: &[T]) -> Vec<T> {
        of.iter().filter(|_| self.below(2) == 0).copied().collect()
    }
}

/// What rules of a site's own may say of a name, and the labels that go with it.
const CONDITIONS: [&str; 27] = [
    "name: \"${account}/*\"",
    "name: \"lib/[^a]*\"",
    "name: \"/^lib\\\\/[a-z]/\"",
    "name: \"/^(.*)\\\\/x$/\", labels: {gid: \"${name:1}\"}",
    "name: \"/^([^\\\\/]+)\\\\/.+$/\", labels: {team: \"${name:1}\"}",
    "name: \"/^(users|apps)\\\\/([^\\\\/]+)\\\\//\", labels: {uid: \"${name:2}\"}",
    "name: \"/^groups\\\\/([^\\\\/]+)\\\\/.+$/\", labels: {gid: \"${name:1}\", team: \"*\"}",
    "name: \"/^groups\\\\/([^\\\\/]+)\\\\/([^\\\\/]+)$/\", labels: {gid: \"${name:1}\", team: \"${name:2}\"}",
    "name: \"/^apps\\\\/([^\\\\/]+)$/\"",
    "name: \"/^(lib|a-b)\\\\/[^\\\\/]+$/\"",
    "name: \"/^${labels:team}\\\\//\"",
    "name: \"groups/${labels:gid}/*\", account: \"/^a/\"",
    "name: \"${labels:team}/${labels:gid}/*\"",
    "name: \"/^users\\\\/([^\\\\/]+)\\\\/.+$/\", account: \"/^(b)/\", service: reg",
    "name: \"/^([a-z]+)\\\\/\\\\d+/\", account: \"/^${name:1}$/\"",
    "name: \"/^([^\\\\/]+)\\\\/.+$/\", account: \"/^${name:1}$/\"",
    "name: \"/^([^\\\\/]+)\\\\/.+$/\", account: \"${name:1}\"",
    "name: \"/./\", labels: {team: \"${name}\"}",
    "name: \"/(?i)^LIB/\"",
    "name: \"/./\", labels: {team: lib}",
    "name: \"/^.+$/\", labels: {pull: reg}",
    "name: \"/x$/\", service: \"/^(v).*$/\"",
    "ip: 10.0.0.0/8",
    "labels: {team: \"/^(l|a)/\"}, service: vault",
    "account: ann",
    "type: registry",
    "type: repository, name: \"*/y/*\"",
];

/// A moment of which some windows are before, and some behind.
const MOMENT: &str = "2030-01-01T00:00:00Z";

/// Rules of a site's own: each with some condition, some actions and some window.
fn own_rules(dice: &mut Dice) -> String {
    let mut rules = String::new();
    for _ in 0..dice.below(7) {
        let window = dice.one(&["", "", "", ", not_before: MOMENT", ", not_after: MOMENT"]).replace("MOMENT", MOMENT);
        let actions = dice.one(&["pull", "push", "\"*\"", "\"pull\", push", "delete", ""]);
        rules.push_str(&format!("  - {{match: {{{}}}, actions: [{actions}]{window}}}\n", dice.one(&CONDITIONS)));
    }
    if rules.is_empty() { "acl: []\n".to_owned() } else { format!("acl:\n{rules}") }
}

/// A directory and rules of its own as the dice have them.
fn configuration(dice: &mut Dice) -> String {
    let groups = ["dev", "ops", "fin"];
    let mut some = |of: &[&str]| dice.some(of).join(", ");
    let mut people = String::new();
    for (id, name) in [(1, "ann"), (2, "bob"), (10, "cat")] {
        let (own, privileges) = (some(&groups), some(&["puller", "pusher", "manager"]));
        people.push_str(&format!("    {name}: {{id: {id}, groups: [{own}], privileges: [{privileges}]}}\n"));
    }
    let mut apps = String::new();
    for (id, name) in [(100, "web"), (101, "bank")] {
        let (responsibles, publications) = (some(&groups), some(&groups));
        apps.push_str(&format!(
            "    {name}: {{id: {id}, responsibles: [{responsibles}], publications: [{publications}]}}\n"
        ));
    }
    let mut registries = String::new();
    for (name, port) in [("reg", 5000), ("vault", 5001)] {
        let (publications, responsibles) = (some(&["dev", "ops", "fin", "everybody"]), some(&groups));
        registries.push_str(&format!(
            "  {name}: {{url: \"http://127.0.0.1:{port}\", restricted: {}, publications: [{publications}], responsibles: [{responsibles}]}}\n",
            some(&["x"]).is_empty(),
        ));
    }
    let rules = own_rules(dice);
    let standard = dice.one(&["standard_rules: opensvc\n", "standard_rules: opensvc\n", ""]);
    let users: String = ["ann", "bob", "cat", "eve"]
        .map(|name| {
            let teams = dice.some(&["lib", "apps", "10", "dev", "a*"]);
            let teams: Vec<String> = teams.iter().map(|team| format!("\"{team}\"")).collect();
            format!("  {name}: {{password: \"{ALICE_HASH}\", labels: {{team: [{}]}}}}\n", teams.join(", "))
        })
        .concat();
    format!(
        "records: {{sqlite: $DIR/records.db}}\nusers:\n  \"\": {{}}\n{users}{rules}{standard}registries:\n{registries}directory:\n  \
         groups: {{dev: {{id: 10}}, ops: {{id: 20}}, fin: {{id: 30}}}}\n  users:\n{people}  apps:\n{apps}  services: {{\"web@n1\": \
         {{app: web, secrets: [\"{ALICE_HASH}\"]}}, \"bank@n1\": {{app: bank, secrets: [\"{BOB_HASH}\"]}}}}\n"
    )
}

fn names() -> Vec<Arc<str>> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for first in ["users", "groups", "apps", "lib", "ann", "10", "usersx", "a-b", "libx"] {
        names.insert(first.to_owned());
        for second in ["1", "2", "10", "20", "ann", "dev", "100", "web", "x", "a"] {
            names.insert(format!("{first}/{second}"));
            names.insert(format!("{first}/{second}/x"));
            names.insert(format!("{first}/{second}/lib"));
            names.insert(format!("{first}/{second}/y/z"));
        }
    }
    names.into_iter().map(Arc::from).collect()
}

/// How a secret may narrow its owner: scopes, services, an end.
fn narrowing(dice: &mut Dice) -> Option<Arc<Narrowing>> {
    if dice.below(3) > 0 {
        return None;
    }
    let allow = dice.some(&[
        "repository:lib/*:pull",
        "repository:groups/10/**:*",
        "repository:*/x:pull,push",
        "repository:apps/**:push",
    ]);
    let now: OffsetDateTime = OffsetDateTime::now_utc();
    Some(Arc::new(Narrowing {
        secret: Arc::from("secret"),
        epoch: 1,
        last4: "abcd".to_owned(),
        cut: Cut::parse(allow).unwrap(),
        services: dice.one(&[&[][..], &["reg"], &["vault", "elsewhere"]]).iter().map(|one| (*one).to_owned()).collect(),
        made: now,
        ends: dice.one(&[None, Some(now + Duration::DAY)]),
        last_use: None,
    }))
}

/// Names in their order as a long list has them: some at a time, which are passed over together where none can be pulled.
struct InRuns(Vec<Vec<Arc<str>>>);

impl InRuns {
    fn cut(mut names: Vec<Arc<str>>, dice: &mut Dice) -> InRuns {
        names.sort_by(|one, other| policy::names::order(one, other));
        let mut runs = Vec::new();
        while !names.is_empty() {
            let behind = names.split_off((1 + dice.below(30)).min(names.len()));
            runs.push(std::mem::replace(&mut names, behind));
        }
        InRuns(runs)
    }

    fn all(&self) -> Vec<Arc<str>> {
        self.0.concat()
    }
}

impl Names for InRuns {
    fn runs(&self) -> Box<dyn Iterator<Item = Run<'_>> + Send + '_> {
        Box::new(self.0.iter().map(|run| Run {
            between: run.first().zip(run.last()).map(|(first, last)| (&**first, &**last)),
            names: Box::new(run.iter().map(|name| &**name)),
        }))
    }
}

/// What a token would allow of these, asked about one by one; or why nobody gets any.
async fn one_by_one(
    access: &dockwarden::access::Access,
    viewer: &Viewer<'_>,
    names: &[Arc<str>],
) -> Result<Vec<Arc<str>>, Denied> {
    let mut pullable = Vec::new();
    for name in names {
        let scope = Scope::parse(&format!("repository:{name}:pull")).unwrap();
        let decision = access.decide(viewer.who, viewer.address, viewer.service, vec![scope], viewer.now).await?;
        let [grant] = decision.grants() else { panic!("one scope") };
        if grant.granted.contains(&Action::Pull) {
            pullable.push(Arc::clone(name));
        }
    }
    Ok(pullable)
}

/// Has the server take over another configuration, as it does beside its requests.
async fn reconfigure(bed: &Bed, config: &str) {
    bed.folder.configure(config);
    let app = Arc::clone(&bed.app);
    let reload = tokio::task::spawn_blocking(move || app.reload()).await.unwrap();
    assert_eq!(reload, Reload::Done, "{config}");
}

#[tokio::test]
async fn what_is_listed_is_what_pulling_would_allow() {
    let names = names();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let bed = Bed::with(&configuration(&mut dice));
    let moment = OffsetDateTime::parse(MOMENT, &time::format_description::well_known::Rfc3339).unwrap();
    let (mut listed, mut hidden, mut refused) = (0, 0, 0);
    for round in 0..60 {
        let config = configuration(&mut dice);
        reconfigure(&bed, &config).await;
        let snapshot = bed.app.snapshot();
        let access = &snapshot.access;
        for account in ["ann", "bob", "cat", "web@n1", "bank@n1", "stranger", ""] {
            let teams: Vec<LabelValue> =
                dice.some(&["lib", "apps", "10", "groups"]).into_iter().map(LabelValue::literal).collect();
            let globs = dice.some(&["l?b", "us*"]).into_iter().map(|glob| LabelValue::glob(glob).unwrap());
            let labels = LabelValues::from([("team".to_owned(), teams.into_iter().chain(globs).collect())]);
            let identity = Identity {
                account: Account::parse_or_anonymous(account).unwrap(),
                labels: Arc::new(labels),
                narrowing: narrowing(&mut dice),
                ..Identity::default()
            };
            let who = access.in_directory(identity).unwrap();
            for service in ["reg", "vault", "elsewhere"] {
                let address = dice.one(&[None, Some("10.1.1.1"), Some("192.0.2.1")]).map(|text| text.parse().unwrap());
                let now = dice.one(&[moment - Duration::SECOND, moment, moment + Duration::SECOND]);
                let viewer = Viewer { who: &who, address, service, now };
                let said = |error: Denied| error.to_string();
                let shown = access.pullable(&viewer, names.clone(), usize::MAX).await.map_err(said);
                let pullable = one_by_one(access, &viewer, &names).await.map_err(said);
                assert_eq!(shown, pullable, "round {round}: {who:?} at {service} from {address:?} at {now}\n{config}");
                let Ok(pullable) = pullable else {
                    refused += 1;
                    continue;
                };
                let runs = InRuns::cut(names.clone(), &mut dice);
                let those: BTreeSet<&Arc<str>> = pullable.iter().collect();
                let expected: Vec<Arc<str>> = runs.all().into_iter().filter(|name| those.contains(name)).collect();
                let shown = access.pullable(&viewer, runs, usize::MAX).await.unwrap();
                assert_eq!(shown, expected, "round {round}: {who:?} at {service} from {address:?} at {now}\n{config}");
                let some = access.pullable(&viewer, names.clone(), 3).await.unwrap();
                assert_eq!(some, pullable[..pullable.len().min(3)]);
                (listed, hidden) = (listed + pullable.len(), hidden + names.len() - pullable.len());
            }
        }
    }
    assert!(listed > 20_000 && hidden > 20_000 && refused > 50, "{listed} listed, {hidden} hidden, {refused} refused");
}

/// The same at the doors: what search and the catalog show, and what tokens say.
#[tokio::test]
async fn what_the_doors_list_is_what_a_token_allows() {
    let names: Vec<String> = names().iter().map(|name| name.to_string()).collect();
    let mut dice = Dice(0x1234_5678_9abc_def1);
    let bed = Bed::in_folder(Folder::new(), &configuration(&mut dice));
    for service in ["reg", "vault"] {
        fill(&bed, service, &names).await;
    }
    let (mut listed, mut hidden) = (0, 0);
    for round in 0..12 {
        if round > 0 {
            let config = configuration(&mut dice);
            reconfigure(&bed, &config).await;
        }
        let (account, password) =
            dice.one(&[("ann", "alice-pw"), ("cat", "alice-pw"), ("web@n1", "alice-pw"), ("bank@n1", "bob-pw")]);
        let service = dice.one(&["reg", "vault"]);
        let mut granted = BTreeSet::new();
        for some in names.chunks(80) {
            let scopes: String = some.iter().map(|name| format!("&scope=repository:{name}:pull")).collect();
            let reply = bed.get(&format!("/auth?service={service}{scopes}")).basic(account, password).send().await.ok();
            let pulls = reply
                .access()
                .into_iter()
                .filter_map(|entry| Some(entry.strip_prefix("repository:")?.strip_suffix(":pull")?.to_owned()));
            granted.extend(pulls);
        }
        let ask = async |target: &str| -> Reply {
            bed.get(target).header("host", service).basic(account, password).send().await.ok()
        };
        let catalog = ask("/v2/_catalog?n=1000").await.json();
        let shown: BTreeSet<String> =
            catalog["repositories"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        assert_eq!(shown, granted, "round {round}: {account} at {service}");
        for term in ["users/", "groups/10/", "x", "lib/1", "no-such"] {
            let found = ask(&format!("/v1/search?n=100&q={term}")).await.json();
            let found: Vec<&str> =
                found["results"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
            let expected: BTreeSet<&str> =
                granted.iter().filter(|name| name.contains(term)).map(String::as_str).collect();
            // All of it, where it fits into one answer.
            assert_eq!(found.len(), expected.len().min(100), "round {round}: {account} at {service} for {term}");
            assert!(
                found.iter().all(|name| expected.contains(name)),
                "round {round}: {account} at {service} for {term}: {found:?}"
            );
        }
        (listed, hidden) = (listed + granted.len(), hidden + names.len() - granted.len());
    }
    assert!(listed > 100 && hidden > 100, "{listed} listed, {hidden} hidden");
}
