//! How long the machine itself keeps everybody from running: what a promise of the program may take besides, where somebody
//! else has the cores for a while.

use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at the clock.
const LOOK: Duration = Duration::from_millis(10);
/// What is no delay but how a busy machine shares its cores.
const USUAL: Duration = Duration::from_millis(50);

/// When each delay ended, and how long it was.
type Delays = Mutex<Vec<(Instant, Duration)>>;

/// Looks from now on, until the tests end.
pub(crate) fn watch() -> &'static Delays {
    static DELAYS: OnceLock<Delays> = OnceLock::new();
    static WATCH: OnceLock<()> = OnceLock::new();
    let delays = DELAYS.get_or_init(Delays::default);
    WATCH.get_or_init(|| {
        let look = move || {
            loop {
                let began = Instant::now();
                thread::sleep(LOOK);
                let delay = began.elapsed().saturating_sub(LOOK);
                if delay > USUAL {
                    delays.lock().unwrap().push((Instant::now(), delay));
                }
            }
        };
        thread::Builder::new().name("clock".to_owned()).spawn(look).unwrap();
    });
    delays
}

/// How long the machine kept us since then.
pub(crate) fn delay_since(began: Instant) -> Duration {
    let delays = watch().lock().unwrap();
    delays.iter().rev().take_while(|(ended, _)| *ended > began).map(|(_, delay)| *delay).sum()
}

/// The time since then, less what the machine kept us.
pub(crate) fn elapsed(began: Instant) -> Duration {
    began.elapsed().saturating_sub(delay_since(began))
}
