//! A form that was sent and is not right: its page is shown once more, with what was typed there and what is wrong with it.

use axum::http::StatusCode;
use axum::response::Response;

use super::area::{Area, Does, Room, Turn, VERSION};
use super::frame::Problem;
use super::sheet::{Kind, Sheet};

/// A form that was sent and is not right.
pub(super) struct Again {
    /// Where it was sent.
    area: Area,
    /// What is said of it, and with which status.
    pub(super) status: StatusCode,
    told: String,
}

impl Room<'_> {
    /// The page of the form that was sent, with what was typed there and what is wrong with it.
    ///
    /// # Errors
    /// The problem, where it is not about what was typed, or there is no such page.
    pub(super) async fn sent_back(self, area: Area, problem: Problem) -> Result<Response, Problem> {
        let (visit, shape) = (self.visit, problem.shape());
        let has_form = self.turn == Turn::Sent && area.row().1 == Does::Both;
        if !has_form || !self.asked.comes_back() || !problem.is_of_what_was_typed(&shape) {
            return Err(problem);
        }
        let again = Again { area, status: shape.status, told: shape.message.to_string() };
        let room = Room { turn: Turn::Shown, again: Some(again), ..self };
        match room.serve(area).await {
            Ok(response) => {
                visit.log_refusal(&shape, &problem);
                Ok(response)
            }
            Err(_) => Err(problem),
        }
    }

    /// The same page with what was typed in its form.
    pub(super) fn filled_in(&self, again: &Again, mut sheet: Sheet) -> Sheet {
        let action = self.href(again.area, &[]);
        for form in sheet.forms.iter_mut().filter(|form| form.action == action) {
            for input in &mut form.inputs {
                let typed = self.asked.field(input.name);
                input.value = match input.kind {
                    Kind::Line | Kind::Lines => typed.unwrap_or_default().to_owned(),
                    Kind::Check => typed.map(|_| "1".to_owned()).unwrap_or_default(),
                };
            }
            // What was typed is for what its writer saw, and not for what others have made of it since.
            let seen = form.hidden.iter_mut().filter(|(name, _)| *name == VERSION);
            for ((_, version), sent) in seen.zip(self.asked.field(VERSION)) {
                sent.clone_into(version);
            }
        }
        sheet.alert = Some(again.told.clone());
        sheet
    }
}
