//! The page: one state, the link that feeds it, and the panels that show it.

use meshground_shared::{ClusterPhase, NodeId};
use yew::prelude::*;

use crate::{
    components::{Banner, Desk, EventLog, Fleet, Header, Inspector, Notices, Overview, Welcome},
    graph::Graph,
    link::Connection,
    state::{Action, Batch, Command, State},
    theme::Theme,
};

/// The whole page.
#[component]
pub(crate) fn App() -> Html {
    let state = use_reducer(State::default);
    let theme = use_state_eq(Theme::remembered);
    let connection = use_mut_ref(|| None::<Connection>);

    {
        let (connection, dispatcher) = (connection.clone(), state.dispatcher());
        use_effect_with((), move |()| {
            *connection.borrow_mut() =
                Some(Connection::open(move |actions| dispatcher.dispatch(Batch(actions))));
            move || {
                if let Some(connection) = connection.borrow_mut().take() {
                    connection.close();
                }
            }
        });
    }
    let on_command = {
        let connection = connection.clone();
        use_callback((), move |command: Command, ()| {
            if let Some(connection) = connection.borrow().as_ref() {
                connection.give(command);
            }
        })
    };
    let on_retry = {
        let connection = connection.clone();
        use_callback((), move |(), ()| {
            if let Some(connection) = connection.borrow().as_ref() {
                connection.retry_now();
            }
        })
    };
    let on_select = {
        let dispatcher = state.dispatcher();
        use_callback((), move |node: Option<NodeId>, ()| {
            dispatcher.dispatch(Batch(vec![Action::Select(node)]));
        })
    };
    let on_look = {
        let connection = connection.clone();
        use_callback((), move |node: Option<NodeId>, ()| {
            if let Some(connection) = connection.borrow().as_ref() {
                connection.look_through(node);
            }
        })
    };
    let on_dismiss = {
        let dispatcher = state.dispatcher();
        use_callback((), move |notice: u64, ()| dispatcher.dispatch(Batch(vec![Action::Dismiss(notice)])))
    };
    let on_theme = {
        let theme = theme.clone();
        Callback::from(move |()| {
            let next = theme.toggled();
            // First on the document: the graph reads its colours from there.
            next.put_on();
            theme.set(next);
        })
    };

    let phase = state.phase();
    let deserted = state.snapshot.as_ref().is_none_or(|snapshot| snapshot.nodes.is_empty());
    let booting = state.pending.iter().any(|pending| matches!(pending.command, Command::Boot { .. }));
    let has_daemons = state.has_daemons();
    let desk = Desk {
        snapshot: state.snapshot.clone(),
        names: state.names.clone(),
        clock: state.clock,
        live: state.is_live(),
        pending: state.pending.clone(),
        answers: state.answers.clone(),
        on_command: on_command.clone(),
        on_select: on_select.clone(),
    };
    let stale = !state.is_live() && state.snapshot.is_some();
    html! {
        <div class={classes!("page", stale.then_some("stale"))}>
            <Header
                link={state.link}
                snapshot={state.snapshot.clone()}
                max_nodes={state.hello.as_ref().map(|hello| hello.limits.max_nodes)}
                pending={state.pending.clone()}
                converged={state.converged}
                theme={*theme}
                on_command={on_command.clone()}
                {on_theme}
            />
            <Banner link={state.link} {on_retry} />
            <main class="main">
                <section class="stage" aria-label="Peer graph">
                    <Graph
                        snapshot={state.snapshot.clone()}
                        rtts={state.rtts.clone()}
                        names={state.names.clone()}
                        selected={state.selected}
                        theme={*theme}
                        on_select={on_select.clone()}
                    />
                    if deserted && phase != ClusterPhase::Stopping {
                        <Welcome
                            live={state.is_live()}
                            known={state.snapshot.is_some()}
                            {phase}
                            {booting}
                            on_command={on_command.clone()}
                        />
                    }
                </section>
                <aside class="side" aria-label="Details">
                    if let (Some(node), Some(snapshot)) = (state.selected, state.snapshot.clone()) {
                        <Inspector
                            {node}
                            {snapshot}
                            rtts={state.rtts.clone()}
                            traffic={state.traffic.clone()}
                            names={state.names.clone()}
                            clock={state.clock}
                            live={state.is_live()}
                            pending={state.pending.clone()}
                            on_command={on_command.clone()}
                            on_select={on_select.clone()}
                            has_eyes={state.has_eyes()}
                            eyes={state.eyes.clone()}
                            {on_look}
                        />
                    } else {
                        <Overview
                            hello={state.hello.clone()}
                            live={state.is_live()}
                            snapshot={state.snapshot.clone()}
                            converged={state.converged}
                            pending={state.pending.clone()}
                            on_command={on_command.clone()}
                        />
                    }
                    <EventLog
                        log={state.log.clone()}
                        silence={state.silence()}
                        names={state.names.clone()}
                        causes={state.causes.clone()}
                        selected={state.selected}
                    />
                </aside>
                <Fleet
                    {desk}
                    {has_daemons}
                    rtts={state.rtts.clone()}
                    traffic={state.traffic.clone()}
                    loads={state.loads.clone()}
                    calls={state.calls.clone()}
                    selected={state.selected}
                />
            </main>
            <Notices notices={state.notices.clone()} {on_dismiss} />
        </div>
    }
}
