//! Ctrl-C and SIGTERM: the first asks the running verb to stop cleanly, the second ends the process
//! at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::{Exit, Failure};

/// Whether Ctrl-C was pressed, or SIGTERM sent, since [`Interrupt::watch`].
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes over both signals for a verb that looks at [`Interrupt::requested`] several times a second.
    /// Until then, and for the other verbs, they end the process as the system does by default.
    pub(crate) fn watch() -> Result<Interrupt, Failure> {
        let pressed = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // The actions run in this order: at the first signal the condition still is false.
            flag::register_conditional_shutdown(
                signal,
                Exit::Interrupted as i32,
                Arc::clone(&pressed),
            )
            .and_then(|_| flag::register(signal, Arc::clone(&pressed)))
            .map_err(|error| {
                Failure::new(Exit::Io, format!("cannot watch for signals: {error}"))
            })?;
        }
        Ok(Interrupt(pressed))
    }

    /// From now on the first signal ends the process, for what comes does not look.
    pub(crate) fn stop_watching(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the user asked to stop.
    pub(crate) fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
