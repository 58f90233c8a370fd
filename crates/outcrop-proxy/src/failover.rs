//! Try targets until one answers.
//!
//! The loop is visible and is the only one: nothing below it tries a second target. Before the first
//! content byte a failure of any kind may go elsewhere, as its class allows; after it nothing may
//! (I-3), and that is a change of type: a leg becomes `Committed`, which the relay consumes.
//!
//! A try that is slow is not dropped: another target is asked beside it as soon as one may be, and
//! whichever answers first has answered. When nothing can be asked now, what may be asked later is waited
//! for, so that no request ends before its deadline while a target is left that could answer it.

mod course;

use outcrop_core::failure::Failure;
use outcrop_policy::route::Plan;
use tokio::time::sleep_until;

use self::course::{Course, Turn};
use crate::committed::Committed;
use crate::leg::Exchange;
use crate::settle::Record;

/// Tries the targets of the plan in order until one answers or none may be tried any more.
pub(crate) async fn failover(
    exchange: Exchange<'_>,
    plan: &Plan,
    record: &mut Record,
) -> Result<Committed, Failure> {
    let mut course = Course::of(exchange, plan, record);
    let mut turn = Turn::Next;
    loop {
        turn = match turn {
            Turn::Next => course.set_out(record).await,
            Turn::Wait if course.is_under_way() => course.wait().await,
            Turn::Wait => match course.looks_again(record) {
                Some(at) => {
                    sleep_until(at).await;
                    Turn::Next
                }
                None => return Err(course.exhausted(record)),
            },
            Turn::Ended(at, opened) => match course.conclude(at, *opened, record) {
                Some(result) => return result,
                None => Turn::Next,
            },
            Turn::Over(failure) => return Err(course.abandon(failure, record)),
        };
    }
}
