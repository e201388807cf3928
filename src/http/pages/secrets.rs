//! The secrets of robots and services, and those of others that somebody may look after: which there are, making, renewing and ending
//! them. Each is shown once, in the answer to the form that made it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::response::Response;

use super::account::{USUAL_END, login_line, registry, usual_end};
use super::area::{Area, Room, SOME_ROBOT, Turn};
use super::frame::Problem;
use super::once::{self, ANOTHER, ONCE};
use super::sheet::{Cell, Copy, Input, Link, Sheet, Table, UNKNOWN, fitting, minute_of};
use crate::http::api::{Admitted, Refused, SecretsDesk, id_from, name_of};
use crate::identity::{Account, LookUp};
use crate::records::{Kept, Limits, Owner, SecretId, Whose};
use crate::secrets::{
    Expires, LimitTexts, Made, New, NotMade, State, TokenAction, Told, Wanted, account_of, robot_account, robot_name,
};

/// So many are looked at for one page.
const LOOKED_AT: u32 = 50;
/// So many secrets are shown beside what has them.
const SHOWN: usize = 50;
/// The bytes of a table.
const BYTES: usize = 45_000;

fn owner_of(told: &Told) -> String {
    match (&told.robot, &told.account) {
        (Some(robot), _) => format!("robot {robot}"),
        (None, Some(account)) => account.clone(),
        (None, None) => UNKNOWN.to_owned(),
    }
}

/// The account that it logs in with.
fn account(kept: &Kept) -> Result<Account, Problem> {
    Ok(account_of(&kept.owner).map_err(Refused::from)?)
}

/// How the address of a list says whose secrets it is about.
fn whose(kept: &Kept) -> Result<(&'static str, String), Problem> {
    Ok(match &kept.owner {
        Owner::Robot { name, .. } => ("robot", name.0.to_string()),
        Owner::Account { account, .. } | Owner::Workload { account, .. } => ("account", account.to_string()),
    })
}

fn used(told: &Told) -> String {
    match &told.last_used {
        None => "never".to_owned(),
        Some(used) => match &used.network {
            None => minute_of(&used.at),
            Some(network) => format!("{}, {network}", minute_of(&used.at)),
        },
    }
}

impl Room<'_> {
    /// Who asks the rules whether this may be done with a secret, as for the API. Nobody signs in here by a secret, and so none that was
    /// leaked makes another.
    fn secrets_desk(&self, action: TokenAction) -> Result<SecretsDesk<'_, '_>, Problem> {
        let lasting = self.desk.access.lasting().map(Arc::clone).ok_or(Problem::Nothing)?;
        let admitted = Admitted { who: self.desk.who.clone(), account: self.account.clone() };
        Ok(SecretsDesk { visit: self.visit, lasting, admitted, action, now: self.desk.now })
    }

    fn id(&self) -> Result<SecretId, Problem> {
        id_from(self.one("id")?).ok_or(Problem::Nothing)
    }

    /// Which there are.
    pub(super) async fn secrets(&self) -> Result<Response, Problem> {
        let desk = self.secrets_desk(TokenAction::List)?;
        let (robot, account) = (self.said("robot"), self.account_asked()?);
        let (whose, maker) = match (robot, &account) {
            (None, None) => (Whose::All, SOME_ROBOT.to_owned()),
            // What no robot can be called is nothing that anybody may see.
            (Some(robot), None) => {
                (Whose::Robot(robot_name(robot).map_err(|_| Problem::Nothing)?), SOME_ROBOT.to_owned())
            }
            (None, Some(account)) => (Whose::Account(account.clone()), name_of(account)),
            (Some(_), Some(_)) => return Err(Problem::Nothing),
        };
        let is_all = whose == Whose::All;
        let after = self.said("after").map(|text| id_from(text).ok_or(Problem::Nothing)).transpose()?;
        let (page, next) = desk.page(whose, after.as_ref(), LOOKED_AT).await?;
        let makes = self.desk.could(&maker, TokenAction::Create.action()).await?;
        let lists = self.desk.could(SOME_ROBOT, TokenAction::List.action()).await?;
        if is_all && page.is_empty() && !makes && !lists {
            return Err(Problem::Nothing);
        }
        let shown = match page.is_empty() {
            true => BTreeSet::new(),
            false => desk.owners(&page, TokenAction::Show).await?,
        };
        let row = |(kept, state): &(Kept, State)| {
            let told = Told::of(kept, *state);
            let is_shown = account_of(&kept.owner).is_ok_and(|owner| shown.contains(&owner));
            vec![
                self.named(&told, is_shown),
                Cell::text(owner_of(&told)),
                Cell::text(told.kind),
                Cell::Code(told.last4.clone()),
                Cell::text(told.state.as_str()),
                told.expires.as_ref().map_or_else(|| Cell::text("never"), |at| Cell::moment(Some(at))),
                Cell::text(used(&told)),
            ]
        };
        let rows = fitting(page.iter().map(row), BYTES);
        // Where not all of them fit on the page, the next one begins behind the last that is shown.
        let next = match rows.len() < page.len() {
            true => rows.len().checked_sub(1).and_then(|last| page.get(last)).map(|(last, _)| last.id.0.to_string()),
            false => next,
        };
        let within = robot.map(|robot| ("robot", robot)).into_iter();
        let within: Vec<(&str, &str)> = within.chain(account.as_ref().map(|own| ("account", own.as_str()))).collect();
        let table = Table {
            title: "Secrets".to_owned(),
            columns: vec!["Name", "Whose", "Kind", "Ends with", "State", "Good until", "Last use"],
            rows,
            empty: "None that you may see here.",
            next: self.next(Area::Secrets, &within, next),
        };
        let links = makes.then(|| match &account {
            None => self.link("Make a robot's secret …", Area::NewSecret, &[]),
            Some(account) => self.link("Make a secret …", Area::NewSecret, &[("account", account)]),
        });
        let links = links.into_iter().collect();
        let form = self.form("Those of one robot", Area::Secrets, "Show them", Vec::new());
        let inputs = vec![Input::needed("robot", "Robot", robot.unwrap_or_default())];
        let form = super::sheet::Sending { method: "get", inputs, ..form };
        let title = match &account {
            None => "Secrets of robots and others".to_owned(),
            Some(account) => format!("Secrets of {account}"),
        };
        let forms = if account.is_none() { vec![form] } else { Vec::new() };
        self.show(Sheet { title, links, tables: vec![table], forms, ..Sheet::default() })
    }

    /// The account that is asked about. What can be none is nothing that anybody may see.
    fn account_asked(&self) -> Result<Option<Account>, Problem> {
        self.said("account").map(|text| Account::parse(text).map_err(|_| Problem::Nothing)).transpose()
    }

    /// The name of a secret, which leads to it whoever may see it.
    fn named(&self, told: &Told, is_shown: bool) -> Cell {
        match is_shown {
            true => Cell::Link(self.link(told.name.as_str(), Area::Secret, &[("id", &told.id)])),
            false => Cell::text(told.name.as_str()),
        }
    }

    /// What somebody may do with the secrets of an account, for those who show what can be done.
    async fn could_with(&self, account: &Account, action: TokenAction) -> Result<bool, Problem> {
        Ok(self.desk.could(&name_of(account), action.action()).await?)
    }

    /// The secrets of an account that are good, and the ways to more of them and to a new one: each for whoever has the right to it.
    pub(super) async fn living_secrets(&self, name: &str) -> Result<(Vec<Link>, Vec<Table>), Problem> {
        let (Some(lasting), Ok(owner)) = (self.desk.access.lasting(), Account::parse(name)) else {
            return Ok((Vec::new(), Vec::new()));
        };
        let (mut links, at) = (Vec::new(), [("account", name)]);
        if self.could_with(&owner, TokenAction::Create).await? {
            links.push(self.link("Make a secret …", Area::NewSecret, &at));
        }
        if !self.could_with(&owner, TokenAction::List).await? {
            return Ok((links, Vec::new()));
        }
        links.push(self.link("All of its secrets, those that ended too", Area::Secrets, &at));
        let shows = self.could_with(&owner, TokenAction::Show).await?;
        let revokes = self.could_with(&owner, TokenAction::Revoke).await?;
        let living = match self.desk.access.look_up(&owner, self.visit.asker.address).await? {
            LookUp::Known(who) => lasting.living_personal(&who, (None, SHOWN), self.desk.now).await,
            LookUp::Unknown | LookUp::OnlyByLogin => Ok(Vec::new()),
        };
        let living = living.map_err(|cause| Problem::Unavailable(cause.into()))?;
        let row = |kept: &Kept| {
            let told = Told::of(kept, State::Active);
            let revoke = revokes.then(|| {
                Cell::Link(self.link(format!("Revoke {} …", told.name), Area::RevokeSecret, &[("id", &told.id)]))
            });
            let cells = vec![
                self.named(&told, shows),
                Cell::Code(told.last4.clone()),
                Cell::text(told.created.as_str()),
                Cell::text(told.expires.as_deref().unwrap_or("never")),
                Cell::text(used(&told)),
            ];
            cells.into_iter().chain(revoke).collect()
        };
        let columns = ["Name", "Ends in", "Made", "Good until", "Last use"].into_iter();
        let table = Table {
            title: "Its secrets".to_owned(),
            columns: columns.chain(revokes.then_some("End it")).collect(),
            rows: fitting(living.iter().map(row), BYTES / 2),
            empty: "None that is good.",
            next: None,
        };
        Ok((links, vec![table]))
    }

    /// Makes a robot's secret, and the robot where there is none; or one of an account, such as a service.
    pub(super) async fn new_secret(&self) -> Result<Response, Problem> {
        match self.turn {
            Turn::Shown => {
                let (account, robots) = (self.account_asked()?, || SOME_ROBOT.to_owned());
                let on = account.as_ref().map_or_else(robots, name_of);
                if self.desk.access.lasting().is_none() || !self.desk.could(&on, TokenAction::Create.action()).await? {
                    return Err(Problem::Nothing);
                }
                let of_robot = [
                    Input::needed("robot", "Robot, such as ci-web", ""),
                    Input::check("new", "A robot that is new", false),
                    Input::lines("labels", "Labels of a new robot, of your own: name=value, one a line", &[]),
                ];
                let own = [
                    Input::needed("name", "Name of the secret", ""),
                    Input::needed("expires", "Good for, such as 90d, or until 2027-01-31", self.usual_end()),
                    Input::lines("allow", "Only these scopes, such as repository:team/*:pull, one a line", &[]),
                    Input::lines("from", "Only from these networks, one a line", &[]),
                    Input::lines("services", "Only for these services, one a line", &[]),
                ];
                let (title, hidden) = match &account {
                    None => ("Make a robot's secret".to_owned(), Vec::new()),
                    Some(account) => (format!("Make a secret of {account}"), vec![("account", account.to_string())]),
                };
                let of_robot = of_robot.into_iter().filter(|_| account.is_none());
                let hidden = hidden.into_iter().chain([(ONCE, once::fresh()?)]).collect();
                let form = self.form("A new secret", Area::NewSecret, "Make it", hidden);
                let forms = vec![self.form_with(form, of_robot.chain(own).collect())];
                self.show(Sheet { title, forms, ..Sheet::default() })
            }
            Turn::Sent => {
                let desk = self.secrets_desk(TokenAction::Create)?;
                let account = self.account_asked()?;
                let robot = match &account {
                    Some(_) => None,
                    None => match robot_name(self.said("robot").unwrap_or_default()) {
                        // Who may make none is not told what is wrong with the form either.
                        Err(_) if !self.desk.could(SOME_ROBOT, TokenAction::Create.action()).await? => {
                            return Err(Problem::Nothing);
                        }
                        robot => Some(robot?),
                    },
                };
                match (&account, &robot) {
                    (Some(account), _) => desk.require(account).await?,
                    (None, Some(robot)) => desk.require(&robot_account(robot)?).await?,
                    (None, None) => return Err(Problem::Nothing),
                }
                let limits = LimitTexts {
                    allow: self.wanted_lines("allow"),
                    from: self.wanted_lines("from"),
                    services: self.wanted_lines("services"),
                    not_before: Wanted::Unsaid,
                };
                let new = New {
                    name: self.said("name").unwrap_or_default().to_owned(),
                    expires: Some(self.expires()?),
                    limits: limits.over(Limits::default())?,
                    maker: Some(self.account.clone()),
                };
                let labels = self.labels()?;
                let once = ("make", self.said(ONCE));
                let was_sent = once::was_sent(self.visit, &desk.lasting, once, self.desk.now).await?;
                let (made, owner, (by, whose)) = match (account, robot) {
                    (Some(account), _) => {
                        let owner = desk.look_up(&account).await?;
                        let made = desk.lasting.make_personal(owner, new, self.desk.now).await;
                        (made, account.clone(), ("account", account.to_string()))
                    }
                    (None, Some(robot)) => {
                        let labels = labels.map(|labels| desk.own_labels(&labels)).transpose()?.map(Arc::new);
                        let made = desk.lasting.make_robot(&robot, labels, new, self.desk.now).await;
                        (made, robot_account(&robot)?, ("robot", robot.0.to_string()))
                    }
                    (None, None) => return Err(Problem::Nothing),
                };
                let made = match made {
                    // The name, the robot or its last place was taken by this very form.
                    Err(NotMade::NameTaken | NotMade::TooMany | NotMade::Conflict | NotMade::BothSlots) if was_sent => {
                        let lists = self.could_with(&owner, TokenAction::List).await?;
                        let list = lists.then(|| self.href(Area::Secrets, &[(by, &whose)]));
                        return Err(Problem::MadeAlready { what: "secret", mend: ANOTHER, list });
                    }
                    made => made?,
                };
                desk.log(&made.kept, "a secret was made");
                self.hand_out(&made).await
            }
        }
    }

    fn wanted_lines(&self, name: &str) -> Wanted<Vec<String>> {
        match self.lines(name) {
            lines if lines.is_empty() => Wanted::Unsaid,
            lines => Wanted::Is(lines),
        }
    }

    fn expires(&self) -> Result<Expires, Problem> {
        let text = self.said("expires").unwrap_or_default();
        Ok(text.parse().map_err(|wrong: crate::secrets::NoExpiry| Refused::Request(wrong.to_string()))?)
    }

    /// The labels of a robot that is new; it may have none.
    fn labels(&self) -> Result<Option<BTreeMap<String, Vec<String>>>, Problem> {
        let mut labels: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in self.lines("labels") {
            let Some((name, value)) = line.split_once('=') else {
                return Err(Refused::Request("a label is written as name=value".to_owned()).into());
            };
            labels.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        Ok((!labels.is_empty() || self.said("new").is_some()).then_some(labels))
    }

    /// The one page that holds a secret, with the line that logs in by it.
    async fn hand_out(&self, made: &Made) -> Result<Response, Problem> {
        let (told, owner) = (Told::of(&made.kept, State::Active), account(&made.kept)?);
        let registry = self.visit.snapshot.sign_in.as_ref().and_then(|section| registry(self.visit.snapshot, section));
        let copies = vec![
            Copy { title: "The secret, shown this once", text: made.secret.reveal().to_owned(), is_secret: true },
            Copy { title: "Log in as", text: owner.to_string(), is_secret: false },
            Copy {
                title: "Log in with this command, which waits for the secret",
                text: login_line(&owner, registry.as_deref()),
                is_secret: false,
            },
        ];
        let mut links = Vec::new();
        if self.could_with(&owner, TokenAction::Show).await? {
            links.push(self.link("About this secret", Area::Secret, &[("id", &told.id)]));
        }
        let facts = facts(&told);
        self.show(Sheet {
            title: format!("A new secret of {}", owner_of(&told)),
            links,
            copies,
            facts,
            ..Sheet::default()
        })
    }

    /// The way back from a question about a secret, for whoever may see it.
    async fn about(&self, kept: &Kept) -> Result<Vec<Link>, Problem> {
        let shows = self.could_with(&account(kept)?, TokenAction::Show).await?;
        Ok(shows.then(|| self.link("About this secret", Area::Secret, &[("id", &kept.id.0)])).into_iter().collect())
    }

    /// One of them.
    pub(super) async fn secret(&self) -> Result<Response, Problem> {
        let id = self.id()?;
        let (kept, state) = self.secrets_desk(TokenAction::Show)?.shown(&id).await?;
        let told = Told::of(&kept, state);
        let (owner, mut links) = (account(&kept)?, Vec::new());
        if self.could_with(&owner, TokenAction::List).await? {
            let (name, whose) = whose(&kept)?;
            links.push(self.link(format!("Secrets of {}", owner_of(&told)), Area::Secrets, &[(name, &whose)]));
        }
        if state.may_be_good() {
            for (action, title, area) in [
                (TokenAction::Renew, "Renew it …", Area::RenewSecret),
                (TokenAction::Revoke, "Revoke it …", Area::RevokeSecret),
            ] {
                if self.could_with(&owner, action).await? {
                    links.push(self.link(title, area, &[("id", &told.id)]));
                }
            }
        }
        let title = format!("{} of {}", told.name, owner_of(&told));
        self.show(Sheet { title, links, facts: facts(&told), ..Sheet::default() })
    }

    /// How long a secret is good where nobody says otherwise.
    fn usual_end(&self) -> String {
        let lasting = self.visit.snapshot.access.lasting();
        format!("{}d", lasting.map_or(USUAL_END, |lasting| usual_end(lasting.settings())))
    }

    /// Asks until when a secret is to be made anew, and does.
    pub(super) async fn renew_secret(&self) -> Result<Response, Problem> {
        let id = self.id()?;
        let desk = self.secrets_desk(TokenAction::Renew)?;
        let (kept, state) = desk.find(&id).await?;
        match self.turn {
            Turn::Shown => {
                let told = Told::of(&kept, state);
                let hidden = vec![("id", told.id.clone()), (ONCE, once::fresh()?)];
                let form = self.form("Make it anew", Area::RenewSecret, "Renew it", hidden);
                let end = "Good for, such as 90d, or until 2027-01-31";
                let forms = vec![self.form_with(form, vec![Input::needed("expires", end, self.usual_end())])];
                let links = self.about(&kept).await?;
                let title = format!("Renew {} of {}?", told.name, owner_of(&told));
                self.show(Sheet { title, links, facts: facts(&told), forms, ..Sheet::default() })
            }
            Turn::Sent => {
                let expires = Some(self.expires()?);
                let owner = match &kept.owner {
                    Owner::Account { account, .. } => Some(desk.look_up(account).await?),
                    Owner::Robot { .. } | Owner::Workload { .. } => None,
                };
                // What is refused for its end alone may be sent again with another.
                expires.map(|expires| expires.end(desk.lasting.settings().longest, self.desk.now)).transpose()?;
                // Sent once more by a browser that goes back, it would end the secret that is still in use.
                let missing = Problem::Field { field: ONCE, wanted: "send the form that the page has" };
                let once = ("renew", Some(self.said(ONCE).ok_or(missing)?));
                if once::was_sent(self.visit, &desk.lasting, once, self.desk.now).await? {
                    return Err(Problem::MadeAlready { what: "secret", mend: "renew it once more", list: None });
                }
                let made = desk.lasting.renew(&id, owner, (expires, Some(self.account.clone())), self.desk.now).await?;
                desk.log(&made.kept, "a secret was renewed");
                self.hand_out(&made).await
            }
        }
    }

    /// Asks whether to end a secret, and does.
    pub(super) async fn revoke_secret(&self) -> Result<Response, Problem> {
        let id = self.id()?;
        let desk = self.secrets_desk(TokenAction::Revoke)?;
        let (kept, state) = desk.find(&id).await?;
        let told = Told::of(&kept, state);
        match self.turn {
            Turn::Shown => {
                let hidden = vec![("id", told.id.clone())];
                let forms =
                    vec![self.form("Whoever uses it is refused from then on", Area::RevokeSecret, "Revoke it", hidden)];
                let links = self.about(&kept).await?;
                let title = format!("Revoke {} of {}?", told.name, owner_of(&told));
                self.show(Sheet { title, links, facts: facts(&told), forms, ..Sheet::default() })
            }
            Turn::Sent => {
                match desk.lasting.revoke(&id, self.desk.now).await {
                    Ok(()) | Err(NotMade::Missing) => {}
                    Err(cause) => return Err(cause.into()),
                }
                desk.log(&kept, "a secret was revoked");
                let owner = account(&kept)?;
                if self.could_with(&owner, TokenAction::Show).await? {
                    return self.on_to(Area::Secret, &[("id", &told.id)]);
                }
                match self.could_with(&owner, TokenAction::List).await? {
                    true => {
                        let (name, whose) = whose(&kept)?;
                        self.on_to(Area::Secrets, &[(name, &whose)])
                    }
                    false => Ok(super::see_other(&format!("{}/account", self.frame.prefix))),
                }
            }
        }
    }
}

fn facts(told: &Told) -> Vec<(&'static str, String)> {
    let list = |all: &[String]| if all.is_empty() { "any".to_owned() } else { all.join(", ") };
    let mut facts = vec![
        ("Whose", owner_of(told)),
        ("Kind", told.kind.to_owned()),
        ("Ends with", told.last4.clone()),
        ("State", told.state.as_str().to_owned()),
        ("Made", minute_of(&told.created)),
        ("Good until", told.expires.as_deref().map_or_else(|| "never".to_owned(), minute_of)),
        ("Last use", used(told)),
        ("Scopes", list(&told.allow)),
        ("Networks", list(&told.from)),
        ("Services", list(&told.services)),
    ];
    facts.extend(told.created_by.clone().map(|maker| ("Made by", maker)));
    facts.extend(told.revoked.as_deref().map(|at| ("Revoked", minute_of(at))));
    facts
}
