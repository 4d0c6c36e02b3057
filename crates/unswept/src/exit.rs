//! Exit codes and how an error is read aloud: what was tried, why it failed, what to do.
//!
//! 0 done; 1 the user can mend it; 2 usage or our fault; 3 the `--fail-on` condition holds; 4 it
//! could not be decided.

use std::process::ExitCode;

/// Prints an error with its causes and, where we know one, a hint.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error}");
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        // Some libraries repeat their cause in their own text.
        if !last.contains(&text) {
            eprintln!("  caused by: {text}");
        }
        last = text;
    }
    if let Some(hint) = error.chain().find_map(hint) {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(1)
}

fn hint(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<store::StoreError>() {
        return error.hint().map(str::to_owned);
    }
    if let Some(error) = cause.downcast_ref::<reader::ReaderError>() {
        return error.hint().map(str::to_owned);
    }
    if let Some(error) = cause.downcast_ref::<crate::find::FindError>() {
        return Some(error.hint().to_owned());
    }
    if let Some(error) = cause.downcast_ref::<engine::diagnose::DiagnoseError>() {
        return crate::diagnose::hint(error).map(str::to_owned);
    }
    if let Some(error) = cause.downcast_ref::<crate::incidents::IncidentError>() {
        return Some(error.hint().to_owned());
    }
    if let Some(error) = cause.downcast_ref::<crate::inspect::OpenError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<crate::inspect::LookError>() {
        return Some(error.hint());
    }
    if let Some(error) = cause.downcast_ref::<engine::backtest::files::FilesError>() {
        return error.hint().map(str::to_owned);
    }
    if let Some(error) = cause.downcast_ref::<engine::backtest::prometheus::PrometheusError>() {
        return error.hint().map(str::to_owned);
    }
    if let Some(error) = cause.downcast_ref::<crate::judge::JudgeError>() {
        return Some(error.hint().to_owned());
    }
    if let Some(error) = cause.downcast_ref::<inspect::stop::StopError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<inspect::InspectError>() {
        return error.hint().map(str::to_owned);
    }
    if let Some(error) = cause.downcast_ref::<profile::ProfileError>() {
        return error.hint().map(str::to_owned);
    }
    None
}

/// Prints clap's own message: help and version are no failure.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be said when even standard error is closed.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    }
}
