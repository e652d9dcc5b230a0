//! The migrations, one row each.

use meshground_shared::{MigrationPhase, MigrationSnapshot};
use yew::prelude::*;

use super::{
    desk::{Desk, DeskProps, RowButton, mark, no_rows},
    tick::use_now,
};
use crate::{
    text::{self, workload},
    work::Work,
    workloads,
};

const COLUMNS: usize = 7;

/// The migrations under way and the last ones that are over.
#[component]
pub(crate) fn MigrationTable(props: &DeskProps) -> Html {
    let now_ms = use_now(1_000.0);
    if !props.open {
        return Html::default();
    }
    let desk = &props.desk;
    let migrations =
        desk.snapshot.as_ref().map(|snapshot| workloads::migrations(snapshot)).unwrap_or_default();
    html! {
        <table class="cards migrations" data-testid="migration-table">
            <caption class="sr-only">{ "Daemons on their way from one node to another" }</caption>
            <thead>
                <tr>
                    <th scope="col">{ "Daemon" }</th>
                    <th scope="col">{ "Way" }</th>
                    <th scope="col">{ "Phase" }</th>
                    <th scope="col"><abbr title="Bytes of state that the target has">{ "Progress" }</abbr></th>
                    <th scope="col" class="number wide"><abbr title="Events that wait at the source">{ "Waiting" }</abbr></th>
                    <th scope="col" class="number medium">{ "Took" }</th>
                    <th scope="col"><span class="sr-only">{ "Actions" }</span></th>
                </tr>
            </thead>
            <tbody>
                if migrations.is_empty() { { no_rows(COLUMNS, "Nothing has moved. A daemon's More button moves it.") } }
                { for migrations.into_iter().map(|migration| row(desk, migration, now_ms)) }
            </tbody>
        </table>
    }
}

#[allow(clippy::cast_precision_loss)] // shown in seconds
fn row(desk: &Desk, migration: &MigrationSnapshot, now_ms: f64) -> Html {
    let view = &migration.view;
    let over = view.phase.is_over();
    let name = desk.names.daemon(view.daemon);
    let took = if over {
        text::duration(view.elapsed_us)
    } else {
        text::age(view.elapsed_us as f64 + desk.clock.elapsed_us(migration.at_us, now_ms))
    };
    let cancel = RowButton {
        work: Work::CancelMigration(view.id),
        test: "migration-cancel",
        label: "Cancel",
        name: format!("Call the migration of {name} off"),
    };
    html! {
        <tr
            key={view.id.to_string()} data-testid="migration-row" data-migration={view.id.to_string()}
            data-over={if over { "true" } else { "false" }}
        >
            <th scope="row">{ &name }</th>
            <td class="way">
                { desk.node(view.source) }
                { desk.onwards(view.target) }
            </td>
            <td class="phase">
                { mark(workload::phase_tone(view.phase), workload::phase(view.phase)) }
                if view.retries > 0 { <span class="aside">{ format!("retried {}×", view.retries) }</span> }
                if let Some(reason) = &view.reason { <p class="lacking">{ desk.names.in_words(reason) }</p> }
            </td>
            <td class="how-far">{ progress(migration, &name) }</td>
            <td class="number wide">{ view.buffered }</td>
            <td class="number medium">{ took }</td>
            // The source has let go for good: there is nothing to call off any more.
            <td class="row-actions">
                if !over { { desk.button(cancel, view.phase != MigrationPhase::Cutover) } }
            </td>
        </tr>
    }
}

fn progress(migration: &MigrationSnapshot, name: &str) -> Html {
    let view = &migration.view;
    let label = format!("State of {name} that has arrived");
    let size = text::bytes(view.bytes_total);
    match workloads::progress(view) {
        Some((done, total)) => {
            let said = if done == total { size } else { format!("{} of {size}", text::bytes(done)) };
            html! {
                <span class="progress">
                    <progress aria-label={label} value={done.to_string()} max={total.to_string()} />
                    <span>{ said }</span>
                </span>
            }
        }
        // It ended before anybody knew how much there was.
        None if view.phase.is_over() => html! { <span class="none">{ "–" }</span> },
        None => html! { <span class="progress"><progress aria-label={label} /></span> },
    }
}
