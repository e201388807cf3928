//! How long the machine itself keeps everybody from running: what a promise of the program may take besides, where somebody
//! else has the cores for a while.

use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at the clock.
const LOOK: Duration = Duration::from_millis(10);
/// What is no delay but how a busy machine shares its cores.
const USUAL: Duration = Duration::from_millis(50);

/// What the looks at the clock have shown.
struct Looks {
    last: Instant,
    /// Each look that came too late: when it should have come, and when it did.
    late: Vec<(Instant, Instant)>,
}

impl Looks {
    /// Takes note of a look, if it is late.
    fn look(&mut self) {
        let (due, now) = (self.last + LOOK, Instant::now());
        if now.saturating_duration_since(due) > USUAL {
            self.late.push((due, now));
            self.last = now;
        }
    }
}

/// Looks from now on, until the tests end.
pub(crate) fn watch() {
    drop(looks());
}

fn looks() -> MutexGuard<'static, Looks> {
    static LOOKS: OnceLock<Mutex<Looks>> = OnceLock::new();
    let begin = || {
        let keep_looking = || {
            loop {
                thread::sleep(LOOK);
                let mut looks = looks();
                looks.look();
                looks.last = Instant::now();
            }
        };
        thread::Builder::new().name("clock".to_owned()).spawn(keep_looking).unwrap();
        Mutex::new(Looks { last: Instant::now(), late: Vec::new() })
    };
    LOOKS.get_or_init(begin).lock().unwrap()
}

/// How long the machine kept us between these moments.
pub(crate) fn delay_between(began: Instant, ended: Instant) -> Duration {
    let mut looks = looks();
    // After a delay, who asks may be there before the thread that looks.
    looks.look();
    let within = |(due, came): &(Instant, Instant)| (*came).min(ended).saturating_duration_since((*due).max(began));
    looks.late.iter().rev().take_while(|(_, came)| *came > began).map(within).sum()
}

/// The time since then, less what the machine kept us.
pub(crate) fn elapsed(began: Instant) -> Duration {
    let now = Instant::now();
    now.saturating_duration_since(began).saturating_sub(delay_between(began, now))
}
