//! What every store of records has to do, whichever it is. Each question is asked of an empty store.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use dockwarden::identity::{Account, AccountState};
use dockwarden::records::devices::{DeviceCount, DeviceId, DeviceLogin, UserCodeId};
use dockwarden::records::{
    Added, Bound, Changed, Day, Epoch, Kept, Limits, Logins, MOST_ENDED, Owner, Presented, Records, Robot, RobotName,
    Room, RuleCounts, RuleUse, SecretHash, SecretId, SecretKind, Slot, Use, Version, Whose,
};
use policy::pattern::{LabelValue, LabelValues};
use policy::rule::RuleId;
use time::OffsetDateTime;

/// Asks everything, one after the other.
pub(crate) async fn conforms(records: &dyn Records) {
    records.prepare().await.unwrap();
    whole_records_come_back(records).await;
    names_and_slots_are_taken_while_their_secrets_live(records).await;
    the_longest_unused_give_way(records).await;
    what_ended_with_its_epoch_gives_its_place_away(records).await;
    of_what_ended_there_are_only_so_many(records).await;
    there_is_room_for_so_many_living_ones(records).await;
    nobody_overwrites_what_they_have_not_seen(records).await;
    uses_are_written_down_and_never_older_ones(records).await;
    what_ended_is_forgotten(records).await;
    epochs_only_rise(records).await;
    robots_end_with_their_secrets(records).await;
    of_two_that_present_a_token_one_is_the_first(records).await;
    users_are_kept_as_written(records).await;
    rules_change_as_a_whole(records).await;
    lists_come_in_pages(records).await;
    uses_of_rules_are_added_up_by_day(records).await;
    a_terminals_login_is_found_by_both_codes_and_changed_once(records).await;
    the_later_login_stays(records).await;
    // At the end: nothing that was made before is good afterwards.
    all_epochs_rise_at_once(records).await;
}

async fn a_terminals_login_is_found_by_both_codes_and_changed_once(records: &dyn Records) {
    let login = |device: &str, code: &str, network: &str| DeviceLogin {
        id: DeviceId::of(device),
        code: UserCodeId::of(code),
        network: network.to_owned(),
        ends: at(600),
        text: format!("{{\"of\":\"{device} 'ä'\"}}"),
        version: Version(1),
    };
    let (one, other) = (login("a", "B", "192.0.2.1"), login("c", "D", "2001:db8::/64"));
    assert_eq!(records.count_devices("192.0.2.1").await.unwrap(), DeviceCount::default());
    for each in [&one, &other] {
        assert_eq!(records.make_device(each).await.unwrap(), Changed::Done, "{each:?}");
        assert_eq!(records.device(&each.id).await.unwrap().as_ref(), Some(each));
        assert_eq!(records.device_called(&each.code).await.unwrap().as_ref(), Some(each));
    }
    assert_eq!(records.make_device(&login("a", "F", "")).await.unwrap(), Changed::Conflict);
    assert_eq!(records.make_device(&login("e", "B", "")).await.unwrap(), Changed::Conflict);
    assert_eq!(records.count_devices("192.0.2.1").await.unwrap(), DeviceCount { of_network: 1, all: 2 });
    assert_eq!(records.replace_device(&one.id, "{}", Version(1)).await.unwrap(), Changed::Done);
    assert_eq!(records.replace_device(&one.id, "{}", Version(1)).await.unwrap(), Changed::Conflict);
    assert_eq!(records.replace_device(&DeviceId::of("none"), "{}", Version(1)).await.unwrap(), Changed::Missing);
    let changed = DeviceLogin { text: "{}".to_owned(), version: Version(2), ..one.clone() };
    assert_eq!(records.device_called(&one.code).await.unwrap(), Some(changed));
    records.forget_devices(at(600)).await.unwrap();
    assert_eq!(records.count_devices("").await.unwrap().all, 2, "they end then, and not before");
    records.forget_devices(at(601)).await.unwrap();
    assert_eq!(records.count_devices("").await.unwrap(), DeviceCount::default());
    assert_eq!(records.device(&one.id).await.unwrap(), None);
}

/// Replicas add to each other's, and a day is forgotten by itself.
async fn uses_of_rules_are_added_up_by_day(records: &dyn Records) {
    let (one, other) = (RuleId::parse("00000000000000a1").unwrap(), RuleId::parse("00000000000000a2").unwrap());
    records.add_rule_uses(&RuleCounts::new()).await.unwrap();
    records.add_rule_uses(&[((one, Day(20_000)), 2), ((other, Day(20_001)), 1)].into()).await.unwrap();
    records.add_rule_uses(&[((one, Day(20_000)), 3), ((one, Day(20_002)), 1)].into()).await.unwrap();
    let used = |rule, first, last, uses| RuleUse { rule, first: Day(first), last: Day(last), uses };
    let all = [used(one, 20_000, 20_002, 6), used(other, 20_001, 20_001, 1)];
    assert_eq!(records.rule_uses().await.unwrap(), all);
    assert_eq!(records.forget_rule_uses(Day(20_002)).await.unwrap(), 2);
    assert_eq!(records.rule_uses().await.unwrap(), [used(one, 20_002, 20_002, 1)]);
    assert_eq!(records.forget_rule_uses(Day(20_003)).await.unwrap(), 1);
}

/// Replicas note each what they saw; nobody asks in vain for somebody who never came.
async fn the_later_login_stays(records: &dyn Records) {
    records.note_logins(&Logins::new()).await.unwrap();
    assert_eq!(records.last_logins(&["ann"]).await.unwrap(), Logins::new());
    assert_eq!(records.last_logins(&[]).await.unwrap(), Logins::new());
    let many: Vec<String> = (0..70).map(|number| format!("login{number:02}")).collect();
    records.note_logins(&many.iter().map(|name| (account(name), at(7))).collect()).await.unwrap();
    let (ann, odd) = (account("ann"), account("Älice @ home/ä.b$'\""));
    records.note_logins(&Logins::from([(ann.clone(), at(5)), (odd.clone(), at(6))])).await.unwrap();
    records.note_logins(&Logins::from([(ann.clone(), at(4))])).await.unwrap();
    let asked = [ann.as_str(), odd.as_str(), "nobody"];
    let known = Logins::from([(ann.clone(), at(5)), (odd.clone(), at(6))]);
    assert_eq!(records.last_logins(&asked).await.unwrap(), known);
    records.note_logins(&Logins::from([(ann.clone(), at(8))])).await.unwrap();
    assert_eq!(records.last_logins(&["ann"]).await.unwrap(), Logins::from([(ann.clone(), at(8))]));
    let names: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(records.last_logins(&names).await.unwrap().len(), 70);
    records.forget_login("ann").await.unwrap();
    records.forget_login("ann").await.unwrap();
    assert_eq!(records.last_logins(&asked).await.unwrap(), Logins::from([(odd.clone(), at(6))]));
}

/// A moment of these tests, in seconds.
pub(crate) fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_900_000_000 + seconds).unwrap()
}

pub(crate) fn account(name: &str) -> Account {
    Account::parse(name).unwrap()
}

pub(crate) fn id(text: &str) -> SecretId {
    SecretId(text.into())
}

fn robot_name(text: &str) -> RobotName {
    RobotName(text.into())
}

/// A hash that no other text has here.
pub(crate) fn hash(text: &str) -> SecretHash {
    let mut bytes = [7; 32];
    for (byte, letter) in bytes.iter_mut().zip(text.bytes()) {
        *byte = letter;
    }
    SecretHash(bytes)
}

/// A personal secret of an account, which never ends.
pub(crate) fn personal(text: &str, owner: &str) -> Kept {
    Kept {
        id: id(text),
        kind: SecretKind::Personal,
        hash: hash(text),
        last4: "a1B2".to_owned(),
        name: format!("name of {text}"),
        owner: Owner::Account { account: account(owner), bound: Bound { backend: "users".to_owned(), mark: None } },
        epoch: Epoch(0),
        maker: None,
        limits: Limits::default(),
        made: at(0),
        ends: None,
        idle: None,
        revoked: None,
        last_use: None,
        version: Version(1),
    }
}

fn of_robot(text: &str, robot: &str, slot: Slot) -> Kept {
    let owner = Owner::Robot { name: robot_name(robot), slot };
    Kept { kind: SecretKind::Robot, owner, ..personal(text, "nobody") }
}

fn robot(name: &str) -> Robot {
    let labels = [
        (
            "team".to_owned(),
            vec![LabelValue::literal("web"), LabelValue::glob("api-*").unwrap(), LabelValue::literal("*")],
        ),
        ("none".to_owned(), vec![]),
    ];
    Robot {
        name: robot_name(name),
        labels: Arc::new(LabelValues::from(labels)),
        state: AccountState::Enabled,
        made: at(0),
        version: Version(1),
    }
}

async fn add(records: &dyn Records, secret: &Kept) {
    assert_eq!(
        records.add(secret, Room::Any, at(1)).await.unwrap(),
        Added::Kept { evicted: vec![] },
        "{:?}",
        secret.id
    );
}

async fn whole_records_come_back(records: &dyn Records) {
    let full = Kept {
        owner: Owner::Account {
            account: account("Älice @ home/ä.b$"),
            bound: Bound { backend: "mongo_auth".to_owned(), mark: Some([9; 32]) },
        },
        epoch: Epoch(0),
        maker: Some(account("boss")),
        limits: Limits {
            allow: vec!["repository:team/*:pull".to_owned(), "registry:catalog:*".to_owned()],
            from: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/48".parse().unwrap()],
            services: vec!["registry \"one\"".to_owned()],
            not_before: Some(at(5)),
        },
        ends: Some(at(1000)),
        idle: Some(Duration::from_secs(60)),
        last_use: Some(Use {
            at: at(3),
            network: Some("192.0.2.0/24".parse().unwrap()),
            client: "docker/28 'x'".to_owned(),
        }),
        ..personal("whole", "x")
    };
    let labels = robot("x").labels;
    let workload = Owner::Workload { entry: "github".to_owned(), account: account("build"), labels };
    let session = Kept { kind: SecretKind::Session, owner: workload, ..personal("session", "x") };
    for secret in [&full, &session, &personal("plain", "alice")] {
        add(records, secret).await;
        let found = records.find(&secret.hash).await.unwrap().unwrap();
        assert_eq!((&found.secret, found.epoch, found.robot), (secret, Epoch(0), None));
        assert_eq!(records.get(&secret.id).await.unwrap().map(|found| found.secret).as_ref(), Some(secret));
    }
    assert_eq!(records.find(&hash("nothing")).await.unwrap(), None);
    assert_eq!(records.get(&id("nothing")).await.unwrap().map(|found| found.secret), None);
    assert_eq!(records.revoke(&id("whole"), at(4)).await.unwrap(), Changed::Done);
    // Found, so that whoever asks can tell what it was.
    let dead = records.find(&full.hash).await.unwrap().unwrap().secret;
    assert_eq!(dead, Kept { revoked: Some(at(4)), version: Version(2), ..full });
    assert_eq!(records.revoke(&id("whole"), at(9)).await.unwrap(), Changed::Conflict);
    assert_eq!(
        records.get(&id("whole")).await.unwrap().map(|found| found.secret).unwrap().revoked,
        Some(at(4)),
        "it stays what it was"
    );
    assert_eq!(records.revoke(&id("nothing"), at(9)).await.unwrap(), Changed::Missing);
}

async fn names_and_slots_are_taken_while_their_secrets_live(records: &dyn Records) {
    let named = |text: &str, owner: &str| Kept { name: "laptop".to_owned(), ..personal(text, owner) };
    let first = Kept { ends: Some(at(100)), ..named("n1", "nina") };
    add(records, &first).await;
    assert_eq!(records.add(&named("n2", "nina"), Room::Any, at(99)).await.unwrap(), Added::Taken);
    assert_eq!(records.find(&hash("n2")).await.unwrap(), None, "nothing of it is kept");
    // Another's, another kind's, and an account that is spelled otherwise.
    add(records, &named("n3", "Nina")).await;
    add(records, &Kept { kind: SecretKind::Refresh, ..named("n4", "nina") }).await;
    // It has ended by itself.
    assert_eq!(records.add(&named("n2", "nina"), Room::Any, at(100)).await.unwrap(), Added::Kept { evicted: vec![] });
    assert_eq!(
        records.get(&id("n1")).await.unwrap().map(|found| found.secret),
        Some(first),
        "it is in the lists all the same"
    );
    assert_eq!(records.revoke(&id("n2"), at(101)).await.unwrap(), Changed::Done);
    let idle = Kept { idle: Some(Duration::from_secs(10)), made: at(110), ..named("n5", "nina") };
    assert_eq!(records.add(&idle, Room::Any, at(110)).await.unwrap(), Added::Kept { evicted: vec![] });
    assert_eq!(records.add(&named("n6", "nina"), Room::Any, at(119)).await.unwrap(), Added::Taken);
    assert_eq!(records.add(&named("n6", "nina"), Room::Any, at(120)).await.unwrap(), Added::Kept { evicted: vec![] });
    // A robot's two places.
    assert_eq!(records.make_robot(&robot("slots")).await.unwrap(), Changed::Done);
    add(records, &of_robot("s1", "slots", Slot::One)).await;
    add(records, &of_robot("s2", "slots", Slot::Two)).await;
    assert_eq!(records.add(&of_robot("s3", "slots", Slot::One), Room::Any, at(1)).await.unwrap(), Added::Taken);
    assert_eq!(records.revoke(&id("s1"), at(2)).await.unwrap(), Changed::Done);
    add(records, &of_robot("s3", "slots", Slot::One)).await;
}

async fn the_longest_unused_give_way(records: &dyn Records) {
    let refresh = |text: &str| Kept { kind: SecretKind::Refresh, ..personal(text, "eva") };
    for (number, text) in ["e1", "e2", "e3"].into_iter().enumerate() {
        let made = at(i64::try_from(number).unwrap());
        add(records, &Kept { made, ..refresh(text) }).await;
    }
    add(records, &Kept { ends: Some(at(5)), ..refresh("e4") }).await;
    // Of another kind, and another's.
    add(records, &personal("e5", "eva")).await;
    add(records, &Kept { kind: SecretKind::Refresh, ..personal("e6", "adam") }).await;
    let used = Use { at: at(4), network: None, client: String::new() };
    records.used(&BTreeMap::from([(id("e1"), used)])).await.unwrap();
    let added = records.add(&Kept { made: at(10), ..refresh("e7") }, Room::Evict(2), at(10)).await.unwrap();
    assert_eq!(added, Added::Kept { evicted: vec![id("e2"), id("e3")] });
    for (text, revoked) in
        [("e1", None), ("e2", Some(at(10))), ("e3", Some(at(10))), ("e4", None), ("e5", None), ("e6", None)]
    {
        assert_eq!(records.get(&id(text)).await.unwrap().map(|found| found.secret).unwrap().revoked, revoked, "{text}");
    }
    let added = records.add(&Kept { made: at(11), ..refresh("e8") }, Room::Evict(2), at(11)).await.unwrap();
    assert_eq!(added, Added::Kept { evicted: vec![id("e1")] });
}

async fn what_ended_with_its_epoch_gives_its_place_away(records: &dyn Records) {
    assert_eq!(records.make_robot(&robot("epochs")).await.unwrap(), Changed::Done);
    add(records, &of_robot("ep1", "epochs", Slot::One)).await;
    assert_eq!(records.add(&of_robot("ep2", "epochs", Slot::One), Room::Any, at(1)).await.unwrap(), Added::Taken);
    let epoch = records.raise(&account("robot+epochs"), at(2)).await.unwrap();
    let anew = Kept { epoch, name: "name of ep1".to_owned(), ..of_robot("ep2", "epochs", Slot::One) };
    add(records, &anew).await;
    assert_eq!(
        records.add(&Kept { id: id("ep3"), hash: hash("ep3"), ..anew }, Room::Any, at(3)).await.unwrap(),
        Added::Taken
    );
    // What is dead so makes no living one give way.
    let refresh = |text: &str, epoch| Kept { kind: SecretKind::Refresh, epoch, made: at(4), ..personal(text, "epona") };
    add(records, &refresh("ep4", Epoch(0))).await;
    let epoch = records.raise(&account("epona"), at(5)).await.unwrap();
    add(records, &Kept { made: at(3), ..refresh("ep5", epoch) }).await;
    let added = records.add(&refresh("ep6", epoch), Room::Evict(2), at(6)).await.unwrap();
    assert_eq!(added, Added::Kept { evicted: vec![] });
}

/// Of what lives, each is found, whatever ended beside it; and where no other has to go, the last one is refused.
async fn there_is_room_for_so_many_living_ones(records: &dyn Records) {
    for number in 0..4 {
        let ended = format!("ro{number}");
        let (revoked, ends) = if number % 2 == 0 { (Some(at(1)), None) } else { (None, Some(at(2))) };
        add(records, &Kept { revoked, ends, ..personal(&ended, "rosa") }).await;
    }
    add(records, &Kept { kind: SecretKind::Refresh, ..personal("rr", "rosa") }).await;
    add(records, &personal("rx", "another")).await;
    add(records, &personal("ra", "rosa")).await;
    let epoch = records.raise(&account("rosa"), at(2)).await.unwrap();
    let anew = |text: &str| Kept { epoch, ..personal(text, "rosa") };
    for text in ["rb", "rc"] {
        let added = records.add(&anew(text), Room::Refuse(2), at(5)).await.unwrap();
        assert_eq!(added, Added::Kept { evicted: vec![] }, "{text}");
    }
    assert_eq!(records.add(&anew("rd"), Room::Refuse(2), at(5)).await.unwrap(), Added::Full);
    assert_eq!(records.get(&id("rd")).await.unwrap(), None);
    let rosa = account("rosa");
    let living = async |after: Option<&str>, count, now| {
        let after = after.map(id);
        let found = records.living((&rosa, SecretKind::Personal), (after.as_ref(), count), at(now)).await.unwrap();
        found.into_iter().map(|kept| kept.id.0.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(living(None, 9, 5).await, ["rb", "rc"]);
    assert_eq!(living(None, 1, 5).await, ["rb"]);
    assert_eq!(living(Some("rb"), 9, 5).await, ["rc"]);
    assert_eq!(living(None, 0, 5).await, [""; 0]);
    assert_eq!(records.revoke(&id("rb"), at(6)).await.unwrap(), Changed::Done);
    let added = records.add(&Kept { ends: Some(at(9)), ..anew("rd") }, Room::Refuse(2), at(6)).await.unwrap();
    assert_eq!(added, Added::Kept { evicted: vec![] });
    assert_eq!(living(None, 9, 8).await, ["rc", "rd"]);
    assert_eq!(living(None, 9, 9).await, ["rc"], "the other one has ended");
}

/// Who logs in all day fills no store.
async fn of_what_ended_there_are_only_so_many(records: &dyn Records) {
    let most = usize::try_from(MOST_ENDED).unwrap();
    let refresh = |text: String| Kept { kind: SecretKind::Refresh, ..personal(&text, "dora") };
    for number in 0..most + 2 {
        let moment = at(-100_000 + i64::try_from(number).unwrap());
        add(records, &Kept { revoked: Some(moment), ..refresh(format!("dr{number:03}")) }).await;
        add(records, &Kept { ends: Some(moment), ..refresh(format!("de{number:03}")) }).await;
    }
    // Nobody else's, and of no other kind.
    add(records, &Kept { revoked: Some(at(-200_000)), ..personal("dp", "dora") }).await;
    records.add(&refresh("dora".to_owned()), Room::Evict(5), at(0)).await.unwrap();
    let left = records.list(&Whose::Account(account("dora")), None, 1000).await.unwrap();
    let left: Vec<&str> = left.iter().map(|kept| &*kept.id.0).collect();
    assert_eq!(left.len(), 2 * most + 2);
    for (text, is_left) in
        [("dr000", false), ("dr001", false), ("dr002", true), ("de001", false), ("de002", true), ("dp", true)]
    {
        assert_eq!(left.contains(&text), is_left, "{text}");
    }
}

async fn nobody_overwrites_what_they_have_not_seen(records: &dyn Records) {
    let secret = personal("r1", "rosa");
    add(records, &secret).await;
    add(records, &personal("r2", "rosa")).await;
    let changed = Kept {
        name: "another".to_owned(),
        hash: hash("another"),
        ends: Some(at(50)),
        limits: Limits { services: vec!["one".to_owned()], ..Limits::default() },
        ..secret.clone()
    };
    assert_eq!(records.replace(&changed, Version(1)).await.unwrap(), Changed::Done);
    let second = Kept { version: Version(2), ..changed.clone() };
    assert_eq!(records.get(&id("r1")).await.unwrap().map(|found| found.secret), Some(second.clone()));
    assert_eq!(records.find(&secret.hash).await.unwrap(), None, "the old one is not good any more");
    assert_eq!(records.replace(&secret, Version(1)).await.unwrap(), Changed::Conflict);
    let taken = Kept { name: "name of r2".to_owned(), ..changed.clone() };
    assert_eq!(records.replace(&taken, Version(2)).await.unwrap(), Changed::Conflict);
    assert_eq!(records.replace(&personal("nothing", "rosa"), Version(1)).await.unwrap(), Changed::Missing);
    assert_eq!(records.get(&id("r1")).await.unwrap().map(|found| found.secret), Some(second));
    assert_eq!(records.revoke(&id("r1"), at(7)).await.unwrap(), Changed::Done);
    assert_eq!(records.replace(&changed, Version(3)).await.unwrap(), Changed::Conflict, "what is revoked stays so");
}

async fn uses_are_written_down_and_never_older_ones(records: &dyn Records) {
    add(records, &Kept { idle: Some(Duration::from_secs(10)), ends: Some(at(30)), ..personal("u1", "uwe") }).await;
    let used = |seconds, client: &str| Use {
        at: at(seconds),
        network: Some("192.0.2.0/24".parse().unwrap()),
        client: client.to_owned(),
    };
    for (use_, kept) in
        [(used(5, "one"), used(5, "one")), (used(3, "two"), used(5, "one")), (used(8, "three"), used(8, "three"))]
    {
        records.used(&BTreeMap::from([(id("u1"), use_), (id("nothing"), used(1, ""))])).await.unwrap();
        let secret = records.get(&id("u1")).await.unwrap().map(|found| found.secret).unwrap();
        assert_eq!((secret.last_use, secret.version), (Some(kept), Version(1)));
    }
    records.used(&BTreeMap::new()).await.unwrap();
    // It lives for ten seconds after its last use, and not beyond its end.
    let again = Kept { name: "name of u1".to_owned(), ..personal("u2", "uwe") };
    assert_eq!(records.add(&again, Room::Any, at(17)).await.unwrap(), Added::Taken);
    records.used(&BTreeMap::from([(id("u1"), used(25, "four"))])).await.unwrap();
    assert_eq!(records.add(&again, Room::Any, at(29)).await.unwrap(), Added::Taken);
    assert_eq!(records.add(&again, Room::Any, at(30)).await.unwrap(), Added::Kept { evicted: vec![] });
}

async fn what_ended_is_forgotten(records: &dyn Records) {
    let early = |seconds: i64| at(seconds - 1_000_000);
    let secrets = [
        ("f1", Kept { revoked: Some(early(10)), ..personal("f1", "fritz") }),
        ("f2", Kept { ends: Some(early(10)), ..personal("f2", "fritz") }),
        ("f3", Kept { idle: Some(Duration::from_secs(5)), made: early(5), ..personal("f3", "fritz") }),
        ("f4", Kept { ends: Some(early(11)), ..personal("f4", "fritz") }),
        ("f5", personal("f5", "fritz")),
        ("f6", Kept { kind: SecretKind::Session, ends: Some(early(10)), ..personal("f6", "fritz") }),
    ];
    for (_, secret) in &secrets {
        add(records, secret).await;
    }
    assert_eq!(records.forget(SecretKind::Personal, early(11)).await.unwrap(), 3);
    for (text, is_there) in [("f1", false), ("f2", false), ("f3", false), ("f4", true), ("f5", true), ("f6", true)] {
        assert_eq!(records.get(&id(text)).await.unwrap().map(|found| found.secret).is_some(), is_there, "{text}");
    }
    assert_eq!(records.forget(SecretKind::Personal, early(11)).await.unwrap(), 0);
    assert_eq!(records.forget(SecretKind::Session, early(11)).await.unwrap(), 1);
    assert_eq!(records.get(&id("f6")).await.unwrap(), None);
}

async fn epochs_only_rise(records: &dyn Records) {
    let (emil, other) = (account("emil"), account("Emil"));
    assert_eq!(records.epoch(&emil).await.unwrap(), Epoch(0));
    add(records, &personal("p1", "emil")).await;
    let raised = records.raise(&emil, at(1)).await.unwrap();
    assert!(raised > Epoch(0));
    assert_eq!(records.epoch(&emil).await.unwrap(), raised);
    assert_eq!(records.epoch(&other).await.unwrap(), Epoch(0), "names are compared exactly");
    let found = records.find(&hash("p1")).await.unwrap().unwrap();
    assert_eq!((found.secret.epoch, found.epoch), (Epoch(0), raised));
    assert!(records.raise(&emil, at(1)).await.unwrap() > raised);
}

async fn robots_end_with_their_secrets(records: &dyn Records) {
    let (ci, name) = (robot("ci"), robot_name("ci"));
    assert_eq!(records.robot(&name).await.unwrap(), None);
    assert_eq!(records.make_robot(&ci).await.unwrap(), Changed::Done);
    assert_eq!(records.make_robot(&ci).await.unwrap(), Changed::Conflict);
    assert_eq!(records.robot(&name).await.unwrap().as_ref(), Some(&ci));
    add(records, &of_robot("c1", "ci", Slot::One)).await;
    let found = records.find(&hash("c1")).await.unwrap().unwrap();
    assert_eq!((found.robot.as_ref(), found.epoch), (Some(&ci), Epoch(0)));
    let off = Robot { state: AccountState::Disabled, labels: Arc::default(), ..ci.clone() };
    assert_eq!(records.replace_robot(&off, Version(1)).await.unwrap(), Changed::Done);
    assert_eq!(records.replace_robot(&ci, Version(1)).await.unwrap(), Changed::Conflict);
    assert_eq!(records.replace_robot(&robot("nobody"), Version(1)).await.unwrap(), Changed::Missing);
    let found = records.find(&hash("c1")).await.unwrap().unwrap();
    assert_eq!(found.robot, Some(Robot { version: Version(2), ..off }));
    assert_eq!(records.remove_robot(&name, at(9)).await.unwrap(), Changed::Done);
    assert_eq!(records.remove_robot(&name, at(9)).await.unwrap(), Changed::Missing);
    let found = records.find(&hash("c1")).await.unwrap().unwrap();
    assert_eq!((found.robot, found.secret.revoked), (None, Some(at(9))));
    // One of its name, made anew, has none of its secrets: not even one that was added as it was removed.
    assert_eq!(records.make_robot(&ci).await.unwrap(), Changed::Done);
    add(records, &of_robot("c2", "ci", Slot::One)).await;
    let found = records.find(&hash("c2")).await.unwrap().unwrap();
    assert!(found.epoch > found.secret.epoch);
    assert_eq!(records.epoch(&account("robot+ci")).await.unwrap(), found.epoch);
}

async fn of_two_that_present_a_token_one_is_the_first(records: &dyn Records) {
    let see = |text: &'static str, ends, now| async move { records.see(&hash(text), at(ends), at(now)).await.unwrap() };
    assert_eq!(see("t1", 100, 1).await, Presented::First);
    assert_eq!(see("t1", 100, 2).await, Presented::Again);
    assert_eq!(see("t2", 100, 2).await, Presented::First);
    assert_eq!(see("t1", 100, 99).await, Presented::Again);
    assert_eq!(see("t1", 200, 100).await, Presented::First, "it was forgotten at its end");
    let both = tokio::join!(see("t3", 300, 100), see("t3", 300, 100));
    assert!(matches!(both, (Presented::First, Presented::Again) | (Presented::Again, Presented::First)), "{both:?}");
    // Asking notes nothing.
    for _ in 0..2 {
        assert!(!records.was_seen(&hash("asked about")).await.unwrap());
    }
    assert_eq!(see("asked about", 100, 50).await, Presented::First);
    assert!(records.was_seen(&hash("asked about")).await.unwrap());
}

async fn users_are_kept_as_written(records: &dyn Records) {
    let (olga, text) = (account("olga"), "{\"password\": \"$2b$04$x\", \"labels\": {\"a\": [\"ü\"]}}");
    assert_eq!(records.user(&olga).await.unwrap(), None);
    assert_eq!(records.make_user(&olga, text).await.unwrap(), Changed::Done);
    assert_eq!(records.make_user(&olga, "{}").await.unwrap(), Changed::Conflict);
    assert_eq!(records.user(&account("Olga")).await.unwrap(), None);
    let found = records.user(&olga).await.unwrap().unwrap();
    assert_eq!((found.text.as_str(), found.version), (text, Version(1)));
    assert_eq!(records.replace_user(&olga, "{}", Version(1)).await.unwrap(), Changed::Done);
    assert_eq!(records.replace_user(&olga, text, Version(1)).await.unwrap(), Changed::Conflict);
    assert_eq!(records.replace_user(&account("nobody"), text, Version(1)).await.unwrap(), Changed::Missing);
    let names = |found: Vec<(String, _)>| found.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(records.make_user(&account("oskar"), "{}").await.unwrap(), Changed::Done);
    assert_eq!(names(records.users(None, 10).await.unwrap()), ["olga", "oskar"]);
    assert_eq!(names(records.users(Some(&olga), 10).await.unwrap()), ["oskar"]);
    assert_eq!(names(records.users(None, 1).await.unwrap()), ["olga"]);
    assert_eq!(records.remove_user(&olga, Version(1)).await.unwrap(), Changed::Conflict);
    assert_eq!(records.remove_user(&olga, Version(2)).await.unwrap(), Changed::Done);
    assert_eq!(records.remove_user(&olga, Version(2)).await.unwrap(), Changed::Missing);
}

async fn rules_change_as_a_whole(records: &dyn Records) {
    let first = records.rules().await.unwrap();
    assert_eq!((first.text.as_str(), first.version), ("[]", Version(0)));
    assert_eq!(records.rules_version().await.unwrap(), Version(0));
    let text = "[{\"match\": {\"account\": \"ä\"}}]";
    assert_eq!(records.replace_rules(text, Version(0)).await.unwrap(), Changed::Done);
    assert_eq!(records.replace_rules("[]", Version(0)).await.unwrap(), Changed::Conflict);
    assert_eq!(records.replace_rules("[{}]", Version(7)).await.unwrap(), Changed::Conflict);
    let found = records.rules().await.unwrap();
    assert_eq!((found.text.as_str(), found.version), (text, Version(1)));
    assert_eq!(records.replace_rules("[]", Version(1)).await.unwrap(), Changed::Done);
    assert_eq!(records.rules_version().await.unwrap(), Version(2));
}

async fn lists_come_in_pages(records: &dyn Records) {
    for text in ["L2", "l1", "l-3", "l_4", "lä"] {
        add(records, &personal(text, "lea")).await;
    }
    assert_eq!(records.make_robot(&robot("lists")).await.unwrap(), Changed::Done);
    add(records, &of_robot("l5", "lists", Slot::Two)).await;
    assert_eq!(records.revoke(&id("l1"), at(3)).await.unwrap(), Changed::Done);
    let lea = Whose::Account(account("lea"));
    let ids = |list: Vec<Kept>| list.into_iter().map(|secret| secret.id.0.to_string()).collect::<Vec<_>>();
    // By bytes, in every store: pages of another order would overlap or leave something out.
    let sorted = ["L2", "l-3", "l1", "l_4", "lä"];
    assert_eq!(ids(records.list(&lea, None, 100).await.unwrap()), sorted);
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = records.list(&lea, after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        assert!(page.len() <= 2);
        paged.extend(ids(page));
    }
    assert_eq!(paged, sorted);
    assert_eq!(ids(records.list(&Whose::Robot(robot_name("lists")), None, 9).await.unwrap()), ["l5"]);
    assert_eq!(ids(records.list(&Whose::Account(account("Lea")), None, 9).await.unwrap()), [""; 0]);
    assert_eq!(records.list(&Whose::All, None, 0).await.unwrap(), []);
    let all = ids(records.list(&Whose::All, None, 1000).await.unwrap());
    assert!(all.len() > 20 && all.is_sorted() && all.contains(&"l5".to_owned()), "{all:?}");
    let robots = records.robots(None, 100).await.unwrap();
    let names: Vec<&str> = robots.iter().map(|robot| &*robot.name.0).collect();
    assert_eq!(names, ["ci", "epochs", "lists", "slots"]);
    let rest = records.robots(Some(&robot_name("epochs")), 1).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(&*rest[0].name.0, "lists");
}

async fn all_epochs_rise_at_once(records: &dyn Records) {
    let (emil, nobody) = (account("emil"), account("nobody"));
    let before = (records.epoch(&emil).await.unwrap(), records.epoch(&nobody).await.unwrap());
    records.raise_all(at(0)).await.unwrap();
    let after = (records.epoch(&emil).await.unwrap(), records.epoch(&nobody).await.unwrap());
    assert!(after.0 > before.0 && after.1 > before.1, "{before:?} {after:?}");
    for text in ["plain", "s2", "session"] {
        let found = records.find(&hash(text)).await.unwrap().unwrap();
        assert!(found.epoch > found.secret.epoch, "{text}");
    }
    // Whatever moment it is told.
    records.raise_all(at(-1000)).await.unwrap();
    assert!(records.epoch(&nobody).await.unwrap() > after.1);
    assert!(records.raise(&emil, at(0)).await.unwrap() > after.0);
}

/// The variable that makes a test of this program the one that is killed: the run's number.
const VICTIM: &str = "DOCKWARDEN_TEST_VICTIM";

/// Kills a process with SIGKILL again and again while it adds and revokes, each time at another moment: what it had been told is
/// kept is there, what it had been told is revoked is so, and the rest is there as a whole or not at all. `test` is the name of the
/// test that calls this, and is run once more as the victim, with a variable that tells it where the store is; `most` living
/// secrets may be there.
pub(crate) fn survives_being_killed(
    test: &str,
    times: u32,
    store: (&str, &OsStr),
    most: usize,
    open: impl Fn() -> Arc<dyn Records>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let Ok(run) = std::env::var(VICTIM) {
        runtime.block_on(add_and_revoke(&*open(), run.parse().unwrap()));
        return;
    }
    runtime.block_on(open().prepare()).unwrap();
    for run in 0..times {
        let told = run_and_kill(test, run, store);
        let records = open();
        runtime.block_on(async {
            for line in &told {
                let (what, name) = line.split_once(' ').unwrap();
                let kept = records
                    .get(&id(name))
                    .await
                    .unwrap()
                    .map(|found| found.secret)
                    .unwrap_or_else(|| panic!("{line}, and is not there"));
                assert!(what != "revoked" || kept.revoked.is_some(), "{line}, and lives");
            }
            let all = records.list(&Whose::Account(account("kim")), None, 100_000).await.unwrap();
            assert!(all.len() >= told.iter().filter(|line| line.starts_with("added")).count());
            let mut living = 0;
            for secret in &all {
                // A server may still be at work on what the victim asked last: what is found may be newer than the list.
                let found = records.find(&secret.hash).await.unwrap().map(|found| found.secret.id);
                assert_eq!(found.as_ref(), Some(&secret.id));
                living += usize::from(secret.revoked.is_none());
            }
            assert!(living <= most, "{living} live");
        });
    }
}

/// Adds secrets, of which no more than three may live, revokes every other one, and says so after each.
async fn add_and_revoke(records: &dyn Records, run: u32) {
    use std::io::Write as _;
    let say = |what: &str, name: &str| {
        let mut out = std::io::stdout();
        out.write_all(format!("{what} {name}\n").as_bytes()).and_then(|()| out.flush()).unwrap();
    };
    say("victim", "ready");
    for number in 0.. {
        let (name, moment) = (format!("k{run}-{number}"), at(i64::from(run) * 100_000 + number));
        let secret = Kept { kind: SecretKind::Refresh, made: moment, ..personal(&name, "kim") };
        assert!(matches!(records.add(&secret, Room::Evict(3), moment).await.unwrap(), Added::Kept { .. }));
        say("added", &name);
        if number % 2 == 0 {
            assert_eq!(records.revoke(&secret.id, moment).await.unwrap(), Changed::Done);
            say("revoked", &name);
        }
    }
}

/// Starts the victim and kills it after some lines and a moment that differs each time: what it said by then.
fn run_and_kill(test: &str, run: u32, store: (&str, &OsStr)) -> Vec<String> {
    use std::io::{BufRead as _, BufReader};
    let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(VICTIM, run.to_string())
        .env(store.0, store.1)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("victim ready")), "it ended before it began");
    let mut told: Vec<String> = lines.by_ref().take(usize::try_from(run % 7).unwrap() + 1).collect();
    // Anywhere in the next change: whoever spoke has just begun it.
    std::thread::sleep(Duration::from_micros(u64::from(run) * 377 % 6000));
    victim.kill().unwrap();
    victim.wait().unwrap();
    told.extend(lines.filter(|line| line.starts_with("added ") || line.starts_with("revoked ")));
    assert!(!told.is_empty());
    told
}
