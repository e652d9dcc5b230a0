//! The peer graph: a canvas outside the virtual DOM, and the component around it.

mod camera;
mod palette;
mod render;
mod scene;
mod view;

use js_sys::Function;
use meshground_shared::{Maintenance, NodeId, NodeSnapshot, Snapshot};
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{HtmlCanvasElement, KeyboardEvent, PointerEvent, ResizeObserver, WheelEvent};
use yew::prelude::*;

use self::{
    camera::Point,
    view::{Click, GraphView},
};
use crate::{
    components::{Icon, Legend},
    dom::{self, Listener},
    names::Names,
    shared_ref::Shared,
    state::Rtts,
    text,
    theme::Theme,
    workloads,
};

/// What the graph is given.
#[derive(Properties, PartialEq)]
pub(crate) struct GraphProps {
    /// The cluster.
    pub(crate) snapshot: Option<Shared<Snapshot>>,
    /// Round-trip times.
    pub(crate) rtts: Shared<Rtts>,
    /// What nodes are called.
    pub(crate) names: Shared<Names>,
    /// The node being looked at.
    pub(crate) selected: Option<NodeId>,
    /// The theme; a change of it changes the colours.
    pub(crate) theme: Theme,
    /// Called when a person picks a node, or none.
    pub(crate) on_select: Callback<Option<NodeId>>,
}

/// The peer graph with its camera buttons and its legend.
#[component]
pub(crate) fn Graph(props: &GraphProps) -> Html {
    let canvas = use_node_ref();
    let view = use_mut_ref(|| None::<GraphView>);
    let spoken = use_state(String::new);

    {
        let (canvas, view) = (canvas.clone(), view.clone());
        use_effect_with((), move |()| {
            let watch = canvas.cast::<HtmlCanvasElement>().and_then(|canvas| {
                let graph = GraphView::new(canvas.clone())?;
                graph.resize();
                *view.borrow_mut() = Some(graph.clone());
                Some(Watch::new(&canvas, &graph))
            });
            move || {
                drop(watch);
                if let Some(graph) = view.borrow_mut().take() {
                    graph.close();
                }
            }
        });
    }
    let with_view = {
        let view = view.clone();
        move |then: &dyn Fn(&GraphView)| {
            if let Some(graph) = view.borrow().as_ref() {
                then(graph);
            }
        }
    };
    {
        let with_view = with_view.clone();
        use_effect_with(props.snapshot.clone(), move |snapshot| {
            if let Some(snapshot) = snapshot {
                with_view(&|graph| graph.show(snapshot));
            }
        });
    }
    {
        let with_view = with_view.clone();
        use_effect_with(props.rtts.clone(), move |rtts| {
            with_view(&|graph| graph.show_rtts(rtts.clone()));
        });
    }
    {
        let with_view = with_view.clone();
        use_effect_with(props.selected, move |&selected| with_view(&|graph| graph.select(selected)));
    }
    {
        let with_view = with_view.clone();
        use_effect_with(props.theme, move |_| with_view(&GraphView::recolour));
    }

    let onpointerdown = {
        let with_view = with_view.clone();
        Callback::from(move |event: PointerEvent| {
            if event.button() == 0 {
                with_view(&|graph| graph.press(event.pointer_id(), place(&event)));
            }
        })
    };
    let onpointermove = {
        let with_view = with_view.clone();
        Callback::from(move |event: PointerEvent| {
            with_view(&|graph| graph.drag(event.pointer_id(), place(&event)));
        })
    };
    let onpointerup = {
        let (view, on_select) = (view.clone(), props.on_select.clone());
        Callback::from(move |event: PointerEvent| {
            let click =
                view.borrow().as_ref().and_then(|graph| graph.release(event.pointer_id(), place(&event)));
            match click {
                Some(Click::Node(node)) => on_select.emit(Some(node)),
                Some(Click::Ground) => on_select.emit(None),
                None => {}
            }
        })
    };
    let leave = {
        let with_view = with_view.clone();
        Callback::from(move |event: PointerEvent| with_view(&|graph| graph.leave(event.pointer_id())))
    };
    let onblur = {
        let with_view = with_view.clone();
        Callback::from(move |_: FocusEvent| with_view(&GraphView::drop_cursor))
    };
    let onkeydown = {
        let (view, on_select, spoken) = (view.clone(), props.on_select.clone(), spoken.clone());
        let (snapshot, names) = (props.snapshot.clone(), props.names.clone());
        Callback::from(move |event: KeyboardEvent| {
            let view = view.borrow();
            let Some(graph) = view.as_ref() else { return };
            let reached = match event.key().as_str() {
                "ArrowRight" | "ArrowDown" => graph.step(1),
                "ArrowLeft" | "ArrowUp" => graph.step(-1),
                "Home" => graph.step_to_end(false),
                "End" => graph.step_to_end(true),
                "Enter" | " " => {
                    if let Some(node) = graph.cursor() {
                        on_select.emit(Some(node));
                    }
                    event.prevent_default();
                    return;
                }
                "Escape" => {
                    graph.drop_cursor();
                    on_select.emit(None);
                    return;
                }
                "+" | "=" => return graph.zoom(1.25),
                "-" => return graph.zoom(0.8),
                "0" => return graph.fit(),
                _ => return,
            };
            event.prevent_default();
            if let (Some(node), Some(snapshot)) = (reached, &snapshot) {
                spoken.set(describe(node, snapshot, &names));
            }
        })
    };
    let button = |label: &'static str, icon: &'static str, act: fn(&GraphView)| {
        let with_view = with_view.clone();
        let onclick = Callback::from(move |_: MouseEvent| with_view(&act));
        html! {
            <button class="icon-button" type="button" aria-label={label} title={label} {onclick}>
                <Icon name={icon} />
            </button>
        }
    };
    let work = props.snapshot.as_ref().is_some_and(|snapshot| {
        let shows = |node: &NodeSnapshot| !node.daemons.is_empty() || workloads::is_out_of_service(node);
        snapshot.nodes.values().any(shows)
    });
    let label = summary(props.snapshot.as_deref());
    html! {
        <div class="graph">
            <canvas
                ref={canvas}
                class="graph-canvas"
                data-testid="graph"
                tabindex="0"
                role="application"
                aria-roledescription="peer graph"
                aria-label={label}
                {onpointerdown} {onpointermove} {onpointerup} {onkeydown} {onblur}
                onpointercancel={leave.clone()}
                onpointerleave={leave}
            />
            <p class="sr-only" aria-live="polite">{ &*spoken }</p>
            <Legend {work} />
            <div class="camera" role="group" aria-label="Camera">
                { button("Zoom in", "plus", |graph| graph.zoom(1.25)) }
                { button("Zoom out", "minus", |graph| graph.zoom(0.8)) }
                { button("Fit the whole mesh", "fit", GraphView::fit) }
            </div>
        </div>
    }
}

/// What has to be watched besides what Yew watches.
struct Watch {
    observer: ResizeObserver,
    _on_resize: Closure<dyn FnMut()>,
    _listeners: Vec<Listener>,
}

impl Watch {
    fn new(canvas: &HtmlCanvasElement, graph: &GraphView) -> Option<Self> {
        let on_resize = {
            let graph = graph.clone();
            Closure::<dyn FnMut()>::new(move || graph.resize())
        };
        let call: &Function = on_resize.as_ref().unchecked_ref();
        let observer = ResizeObserver::new(call).ok()?;
        observer.observe(canvas);
        let zoom = {
            let graph = graph.clone();
            Listener::new(canvas, "wheel", move |event| {
                let Some(event) = event.dyn_ref::<WheelEvent>() else { return };
                event.prevent_default();
                let lines = if event.delta_mode() == WheelEvent::DOM_DELTA_LINE { 16.0 } else { 1.0 };
                let factor = (-event.delta_y() * lines * 0.0016).exp().clamp(0.5, 2.0);
                graph.zoom_at(factor, Point::new(event.offset_x().into(), event.offset_y().into()));
            })
        };
        let mut listeners = vec![zoom];
        if let Ok(Some(scheme)) = dom::window().match_media("(prefers-color-scheme: dark)") {
            let graph = graph.clone();
            listeners.push(Listener::new(&scheme, "change", move |_| graph.recolour()));
        }
        Some(Self { observer, _on_resize: on_resize, _listeners: listeners })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.observer.disconnect();
    }
}

fn place(event: &PointerEvent) -> Point {
    Point::new(event.offset_x().into(), event.offset_y().into())
}

fn summary(snapshot: Option<&Snapshot>) -> String {
    let Some(snapshot) = snapshot.filter(|snapshot| !snapshot.nodes.is_empty()) else {
        return "Peer graph. No cluster is running.".to_owned();
    };
    let number = |many: usize| u32::try_from(many).unwrap_or(u32::MAX);
    format!(
        "Peer graph: {}, {}. Arrow keys move between nodes, Enter selects, Escape clears; \
         the tables below say the same in words.",
        text::count(number(snapshot.nodes.len()), "node"),
        text::count(number(snapshot.edges().len()), "session"),
    )
}

fn describe(node: NodeId, snapshot: &Snapshot, names: &Names) -> String {
    let name = names.name(node);
    let Some(member) = snapshot.nodes.get(&node) else { return name };
    match member.state {
        meshground_shared::NodeState::Crashed => format!("{name}, crashed"),
        meshground_shared::NodeState::Leaving => format!("{name}, leaving"),
        meshground_shared::NodeState::Paused => format!("{name}, paused"),
        meshground_shared::NodeState::Running => {
            let sessions = u32::try_from(member.peers.len()).unwrap_or(u32::MAX);
            let mut said = format!("{name}, running, {}", text::count(sessions, "session"));
            if !member.daemons.is_empty() {
                let daemons = u32::try_from(member.daemons.len()).unwrap_or(u32::MAX);
                said = format!("{said}, {}", text::count(daemons, "daemon"));
            }
            if member.maintenance != Maintenance::Active {
                let word = text::workload::maintenance(member.maintenance).to_lowercase();
                said = format!("{said}, {word}");
            }
            if member.cordoned {
                said.push_str(", cordoned");
            }
            said
        }
    }
}

#[cfg(test)]
mod tests {
    use meshground_shared::{Epoch, NodeState};

    use super::*;
    use crate::fixtures;

    #[test]
    fn what_is_drawn_on_a_node_is_also_said() {
        let mut snapshot = Snapshot::new(Epoch(1));
        let id = NodeId(7);
        let mut names = Names::default();
        let mut said = |change: &dyn Fn(&mut NodeSnapshot)| {
            let mut node = fixtures::member(3);
            change(&mut node);
            snapshot.nodes.insert(id, node);
            names.learn_all(&snapshot);
            describe(id, &snapshot, &names)
        };
        assert_eq!(said(&|_| {}), "node 3, running, 0 sessions");
        assert_eq!(said(&|node| node.state = NodeState::Crashed), "node 3, crashed");
        assert_eq!(said(&|node| node.state = NodeState::Leaving), "node 3, leaving");
        let busy = said(&|node| {
            node.cordoned = true;
            node.maintenance = Maintenance::EnteringMaintenance;
            let daemon = fixtures::daemon(9, "counter");
            node.daemons.insert(daemon.id, daemon);
        });
        assert_eq!(busy, "node 3, running, 0 sessions, 1 daemon, entering maintenance, cordoned");
    }
}
