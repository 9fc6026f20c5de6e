//! `deepthin fetch`: puts the weights of a catalog model into the cache and prints their path.

use deepthin::catalog;
use deepthin::fetch::{Cache, FetchError};

use crate::args::FetchArgs;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::output::{FetchProgress, Stdout};

/// Fetches, or verifies by SHA-256 what is there already.
pub(crate) fn run(args: &FetchArgs) -> Result<Exit, Failure> {
    let model = catalog::find(&args.name)
        .ok_or_else(|| FetchError::UnknownModel { name: args.name.clone() })?;
    let mut progress = FetchProgress::new(Interrupt::watch()?);
    let path = Cache::from_env()?.ensure_verified(model, &mut progress)?;
    drop(progress); // the bar is gone before the path is printed
    Stdout::new().line(format_args!("{}", path.display()))?;
    Ok(Exit::Success)
}
