//! What ended gives its place away, and what a secret is told by whoever has it.

use super::*;

#[tokio::test]
async fn a_robot_and_a_person_who_were_signed_out_have_all_their_places() {
    let bed = Bed::with(LASTING);
    for secret in ["first", "second"] {
        bed.robot("ci", "web", secret).await.unwrap();
    }
    assert!(matches!(bed.robot("ci", "web", "third").await, Err(NotMade::BothSlots)));
    bed.personal("alice", named("laptop")).await;
    for account in ["robot+ci", "alice"] {
        bed.lasting().sign_out(&Account::parse(account).unwrap(), now()).await.unwrap();
    }
    assert!(bed.lasting().ending(now() + days(100), now()).await.unwrap().is_empty(), "what is dead does not end soon");
    let one = bed.robot("ci", "web", "first").await.unwrap();
    let two = bed.lasting().renew(&one.kept.id, None, (named("").expires, None), now()).await.unwrap();
    for made in [&one, &two] {
        bed.present("robot+ci", made.secret.reveal(), ASK).await.ok();
    }
    assert!(matches!(bed.robot("ci", "web", "third").await, Err(NotMade::BothSlots)));
    let laptop = bed.personal("alice", named("laptop")).await;
    bed.present("alice", &laptop, ASK).await.ok();
    // All of a robot's at once.
    let robot = robot_name("ci").unwrap();
    assert_eq!(bed.lasting().revoke_robot(&robot, now()).await.unwrap(), 2);
    assert_eq!(bed.lasting().revoke_robot(&robot, now()).await.unwrap(), 0);
    for made in [&one, &two] {
        is_dead(&bed, made.secret.reveal(), "secret_revoked").await;
    }
    let unknown = bed.lasting().revoke_robot(&robot_name("nobody").unwrap(), now()).await;
    assert!(matches!(unknown, Err(NotMade::Missing)), "{unknown:?}");
}

/// Who has a robot's secret is told by which name it logs in, and nobody else is told anything.
#[tokio::test]
async fn a_robots_secret_with_another_name_says_whose_it_is() {
    let bed = Bed::with(LASTING);
    let made = bed.robot("ci", "web", "first").await.unwrap();
    let personal = bed.personal("alice", named("laptop")).await;
    let robots = "this token is a robot's: log in as robot+ci (docker login -u robot+ci)";
    for (name, secret, expected, logged) in [
        ("ci", made.secret.reveal(), robots, true),
        ("alice", made.secret.reveal(), robots, true),
        ("bob", personal.as_str(), DEAD, false),
        ("ci", "wrong", "the account or the password is wrong", false),
    ] {
        let log = Log::start(Form::Json);
        let reply = bed.present(name, secret, ASK).await;
        assert_eq!((reply.status, reply.json()["errors"][0]["message"].as_str()), (401, Some(expected)), "{name}");
        assert_eq!(log.text().contains("logs in as robot+ci"), logged, "{}", log.text());
    }
    bed.revoke(&made).await;
    let reply = bed.present("ci", made.secret.reveal(), ASK).await;
    assert_eq!(reply.json()["errors"][0]["message"], DEAD, "who has a dead one is told nothing more");
}
