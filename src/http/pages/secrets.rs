//! The secrets of robots, and those of others that somebody may look after: which there are, making, renewing and ending them. Each is
//! shown once, in the answer to the form that made it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;

use super::area::{Area, Room, SOME_ROBOT, Turn};
use super::frame::Problem;
use super::sheet::{Cell, Copy, Input, Sheet, Table, UNKNOWN, fitting, minute_of};
use crate::http::api::{Admitted, Refused, SecretsDesk, id_from};
use crate::identity::Account;
use crate::records::{Kept, Limits, Owner, SecretId, Whose};
use crate::secrets::{
    Expires, LimitTexts, Made, New, NotMade, State, TokenAction, Told, Wanted, account_of, robot_account, robot_name,
};

/// So many are looked at for one page.
const LOOKED_AT: u32 = 50;
/// The bytes of a table.
const BYTES: usize = 45_000;
/// The end that a form has at first.
const USUAL_END: &str = "90d";

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
        let robot = self.said("robot");
        let whose = match robot {
            None => Whose::All,
            // What no robot can be called is nothing that anybody may see.
            Some(robot) => Whose::Robot(robot_name(robot).map_err(|_| Problem::Nothing)?),
        };
        let is_all = whose == Whose::All;
        let after = self.said("after").map(|text| id_from(text).ok_or(Problem::Nothing)).transpose()?;
        let (page, next) = desk.page(whose, after.as_ref(), LOOKED_AT).await?;
        let makes = self.desk.could(SOME_ROBOT, TokenAction::Create.action()).await?;
        let lists = self.desk.could(SOME_ROBOT, TokenAction::List.action()).await?;
        if is_all && page.is_empty() && !makes && !lists {
            return Err(Problem::Nothing);
        }
        let row = |(kept, state): &(Kept, State)| {
            let told = Told::of(kept, *state);
            vec![
                Cell::Link(self.link(told.name.as_str(), Area::Secret, &[("id", &told.id)])),
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
        let table = Table {
            title: "Secrets".to_owned(),
            columns: vec!["Name", "Whose", "Kind", "Ends with", "State", "Good until", "Last use"],
            rows,
            empty: "None that you may see here.",
            next: self.next(Area::Secrets, &robot.map(|robot| ("robot", robot)).into_iter().collect::<Vec<_>>(), next),
        };
        let links = makes.then(|| self.link("Make a robot's secret …", Area::NewSecret, &[])).into_iter().collect();
        let form = self.form("Those of one robot", Area::Secrets, "Show them", Vec::new());
        let inputs = vec![Input::needed("robot", "Robot", robot.unwrap_or_default())];
        let form = super::sheet::Sending { method: "get", inputs, ..form };
        let title = "Secrets of robots and others".to_owned();
        self.show(Sheet { title, links, tables: vec![table], forms: vec![form], ..Sheet::default() })
    }

    /// Makes a robot's secret, and the robot where there is none.
    pub(super) async fn new_secret(&self) -> Result<Response, Problem> {
        match self.turn {
            Turn::Shown => {
                if !self.desk.could(SOME_ROBOT, TokenAction::Create.action()).await? {
                    return Err(Problem::Nothing);
                }
                let inputs = vec![
                    Input::needed("robot", "Robot, such as ci-web", ""),
                    Input::needed("name", "Name of the secret", ""),
                    Input::needed("expires", "Good for, such as 90d, or until 2027-01-31", USUAL_END),
                    Input::check("new", "A robot that is new", false),
                    Input::lines("labels", "Labels of a new robot, of your own: name=value, one a line", &[]),
                    Input::lines("allow", "Only these scopes, such as repository:team/*:pull, one a line", &[]),
                    Input::lines("from", "Only from these networks, one a line", &[]),
                    Input::lines("services", "Only for these services, one a line", &[]),
                ];
                let form = self.form("A robot's secret", Area::NewSecret, "Make it", Vec::new());
                let forms = vec![self.form_with(form, inputs)];
                self.show(Sheet { title: "Make a robot's secret".to_owned(), forms, ..Sheet::default() })
            }
            Turn::Sent => {
                let desk = self.secrets_desk(TokenAction::Create)?;
                let robot = robot_name(self.said("robot").unwrap_or_default())?;
                desk.require(&robot_account(&robot)?).await?;
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
                let labels = labels.map(|labels| desk.own_labels(&labels)).transpose()?.map(Arc::new);
                let made = desk.lasting.make_robot(&robot, labels, new, self.desk.now).await?;
                desk.log(&made.kept, "a secret was made");
                self.hand_out(&made)
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

    /// The one page that holds a secret.
    fn hand_out(&self, made: &Made) -> Result<Response, Problem> {
        let told = Told::of(&made.kept, State::Active);
        let copies = vec![
            Copy { title: "The secret, shown this once", text: made.secret.reveal().to_owned(), is_secret: true },
            Copy { title: "Log in as", text: account(&made.kept)?.to_string(), is_secret: false },
        ];
        let links = vec![self.link("About this secret", Area::Secret, &[("id", &told.id)])];
        let facts = facts(&told);
        self.show(Sheet {
            title: format!("A new secret of {}", owner_of(&told)),
            links,
            copies,
            facts,
            ..Sheet::default()
        })
    }

    /// One of them.
    pub(super) async fn secret(&self) -> Result<Response, Problem> {
        let id = self.id()?;
        let (kept, state) = self.secrets_desk(TokenAction::Show)?.find(&id).await?;
        let told = Told::of(&kept, state);
        let name = format!("tokens/{}", account(&kept)?);
        let mut links = vec![self.link("Secrets", Area::Secrets, &[])];
        if state == State::Active {
            for (action, title, area) in [
                (TokenAction::Renew, "Renew it …", Area::RenewSecret),
                (TokenAction::Revoke, "Revoke it …", Area::RevokeSecret),
            ] {
                if self.desk.could(&name, action.action()).await? {
                    links.push(self.link(title, area, &[("id", &told.id)]));
                }
            }
        }
        let title = format!("{} of {}", told.name, owner_of(&told));
        self.show(Sheet { title, links, facts: facts(&told), ..Sheet::default() })
    }

    /// Asks until when a secret is to be made anew, and does.
    pub(super) async fn renew_secret(&self) -> Result<Response, Problem> {
        let id = self.id()?;
        let desk = self.secrets_desk(TokenAction::Renew)?;
        let (kept, state) = desk.find(&id).await?;
        match self.turn {
            Turn::Shown => {
                let told = Told::of(&kept, state);
                let form = self.form("Make it anew", Area::RenewSecret, "Renew it", vec![("id", told.id.clone())]);
                let end = "Good for, such as 90d, or until 2027-01-31";
                let forms = vec![self.form_with(form, vec![Input::needed("expires", end, USUAL_END)])];
                let links = vec![self.link("About this secret", Area::Secret, &[("id", &told.id)])];
                let title = format!("Renew {} of {}?", told.name, owner_of(&told));
                self.show(Sheet { title, links, facts: facts(&told), forms, ..Sheet::default() })
            }
            Turn::Sent => {
                let expires = Some(self.expires()?);
                let owner = match &kept.owner {
                    Owner::Account { account, .. } => Some(desk.look_up(account).await?),
                    Owner::Robot { .. } | Owner::Workload { .. } => None,
                };
                let made = desk.lasting.renew(&id, owner, expires, self.desk.now).await?;
                desk.log(&made.kept, "a secret was renewed");
                self.hand_out(&made)
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
                let links = vec![self.link("About this secret", Area::Secret, &[("id", &told.id)])];
                let title = format!("Revoke {} of {}?", told.name, owner_of(&told));
                self.show(Sheet { title, links, facts: facts(&told), forms, ..Sheet::default() })
            }
            Turn::Sent => {
                match desk.lasting.revoke(&id, self.desk.now).await {
                    Ok(()) | Err(NotMade::Missing) => {}
                    Err(cause) => return Err(cause.into()),
                }
                desk.log(&kept, "a secret was revoked");
                self.on_to(Area::Secret, &[("id", &told.id)])
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
