//! The canvas, what a person does with it, and the loop that draws it.
//!
//! Frames are drawn only while something moves or has changed; then the loop sleeps.

use std::{
    cell::RefCell,
    fmt::Write as _,
    rc::{Rc, Weak},
};

use js_sys::Function;
use meshground_shared::{NodeId, Snapshot};
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement};

use super::{
    camera::{Camera, Point, Viewport},
    palette::Palette,
    render::{Drawn, Frame},
    scene::Scene,
};
use crate::{dom, shared_ref::Shared, state::Rtts};

/// The graph on one canvas. A handle: clones are the same graph.
#[derive(Clone)]
pub(crate) struct GraphView(Rc<RefCell<Inner>>);

struct Inner {
    canvas: HtmlCanvasElement,
    context: CanvasRenderingContext2d,
    scene: Scene,
    camera: Camera,
    viewport: Viewport,
    palette: Palette,
    rtts: Shared<Rtts>,
    selected: Option<NodeId>,
    hovered: Option<NodeId>,
    cursor: Option<NodeId>,
    drawn: Drawn,
    fingers: Vec<Finger>,
    dragged: bool,
    last_frame_ms: Option<f64>,
    drawn_ms: f64,
    requested: Option<i32>,
    on_frame: Option<Closure<dyn FnMut(f64)>>,
}

/// What a click hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Click {
    /// A node.
    Node(NodeId),
    /// Nothing.
    Ground,
}

/// A pointer that is down.
struct Finger {
    id: i32,
    start: Point,
    at: Point,
}

/// A hand trembles by less than this many pixels.
const TREMBLE: f64 = 4.0;
/// With more edges than this, drawing takes its time on a machine without a GPU;
const MANY_EDGES: usize = 600;
/// so frames are at least this many milliseconds apart.
const MANY_EDGES_MS: f64 = 45.0;
/// A pause longer than this many seconds is not made up for in one leap.
const LONGEST_STEP: f64 = 0.1;

impl GraphView {
    /// The graph on `canvas`; none where the browser has no 2D canvas.
    pub(crate) fn new(canvas: HtmlCanvasElement) -> Option<Self> {
        let context = canvas.get_context("2d").ok()??.dyn_into::<CanvasRenderingContext2d>().ok()?;
        let palette = Palette::read(&canvas);
        let inner = Inner {
            canvas,
            context,
            scene: Scene::default(),
            camera: Camera::fitting(),
            viewport: Viewport::default(),
            palette,
            rtts: Shared::new(Rtts::new()),
            selected: None,
            hovered: None,
            cursor: None,
            drawn: Drawn::default(),
            fingers: Vec::new(),
            dragged: false,
            last_frame_ms: None,
            drawn_ms: 0.0,
            requested: None,
            on_frame: None,
        };
        let this = Rc::new(RefCell::new(inner));
        let weak = Rc::downgrade(&this);
        let on_frame = Closure::<dyn FnMut(f64)>::new(move |now_ms| on_frame(&weak, now_ms));
        this.borrow_mut().on_frame = Some(on_frame);
        Some(Self(this))
    }

    /// Shows this cluster from now on.
    pub(crate) fn show(&self, snapshot: &Snapshot) {
        let mut inner = self.0.borrow_mut();
        inner.scene.sync(snapshot);
        let gone = |id: &NodeId| !snapshot.nodes.contains_key(id);
        inner.hovered = inner.hovered.filter(|id| !gone(id));
        inner.cursor = inner.cursor.filter(|id| !gone(id));
        inner.wake();
    }

    /// Shows these round-trip times from now on.
    pub(crate) fn show_rtts(&self, rtts: Shared<Rtts>) {
        let mut inner = self.0.borrow_mut();
        inner.rtts = rtts;
        // They are only drawn on the lines of a node in focus.
        if inner.hovered.or(inner.cursor).or(inner.selected).is_some() {
            inner.wake();
        }
    }

    /// Marks the selected node.
    pub(crate) fn select(&self, node: Option<NodeId>) {
        let mut inner = self.0.borrow_mut();
        inner.selected = node;
        inner.wake();
    }

    /// Reads the colours anew, after a change of theme.
    pub(crate) fn recolour(&self) {
        let mut inner = self.0.borrow_mut();
        inner.palette = Palette::read(&inner.canvas);
        inner.wake();
    }

    /// Takes over the canvas's size. Draws at once: a resized canvas is blank.
    pub(crate) fn resize(&self) {
        let mut inner = self.0.borrow_mut();
        inner.measure();
        inner.draw();
    }

    /// Shows the whole ring again.
    pub(crate) fn fit(&self) {
        let mut inner = self.0.borrow_mut();
        inner.camera = Camera::fitting();
        inner.wake();
    }

    /// Zooms around the middle.
    pub(crate) fn zoom(&self, factor: f64) {
        let mut inner = self.0.borrow_mut();
        let middle = inner.viewport.middle();
        inner.zoom(factor, middle);
    }

    /// Zooms around a point of the canvas.
    pub(crate) fn zoom_at(&self, factor: f64, at: Point) {
        self.0.borrow_mut().zoom(factor, at);
    }

    /// A pointer went down.
    pub(crate) fn press(&self, id: i32, at: Point) {
        let mut inner = self.0.borrow_mut();
        if inner.fingers.is_empty() {
            inner.dragged = false;
        }
        inner.fingers.retain(|finger| finger.id != id);
        inner.fingers.push(Finger { id, start: at, at });
        // Has nothing to capture where the pointer is gone already.
        let _ = inner.canvas.set_pointer_capture(id);
    }

    /// A pointer moved: hovers, or drags, or (two of them) pinches.
    pub(crate) fn drag(&self, id: i32, at: Point) {
        let mut inner = self.0.borrow_mut();
        let viewport = inner.viewport;
        let Some(place) = inner.fingers.iter().position(|finger| finger.id == id) else {
            inner.hover(Some(at));
            return;
        };
        let before = inner.fingers[place].at;
        let far = inner.fingers[place].start.distance(at) > TREMBLE;
        inner.dragged |= far || inner.fingers.len() > 1;
        if !inner.dragged {
            return;
        }
        inner.fingers[place].at = at;
        if let [one, two] = inner.fingers.as_slice() {
            let still = if one.id == id { two.at } else { one.at };
            let middle = Point::new(f64::midpoint(at.x, still.x), f64::midpoint(at.y, still.y));
            let factor = at.distance(still) / before.distance(still).max(1.0);
            inner.camera.pan((at.x - before.x) / 2.0, (at.y - before.y) / 2.0, viewport);
            inner.zoom(factor, middle);
        } else {
            inner.camera.pan(at.x - before.x, at.y - before.y, viewport);
        }
        inner.set_cursor_shape("grabbing");
        inner.wake();
    }

    /// A pointer went up. Gives what it clicked, unless it dragged.
    pub(crate) fn release(&self, id: i32, at: Point) -> Option<Click> {
        let mut inner = self.0.borrow_mut();
        let was_down = inner.fingers.iter().any(|finger| finger.id == id);
        inner.fingers.retain(|finger| finger.id != id);
        inner.hover(Some(at));
        let clicked = was_down && inner.fingers.is_empty() && !inner.dragged;
        clicked.then(|| inner.node_at(at).map_or(Click::Ground, Click::Node))
    }

    /// The pointer left, or the browser took it for scrolling.
    pub(crate) fn leave(&self, id: i32) {
        let mut inner = self.0.borrow_mut();
        inner.fingers.retain(|finger| finger.id != id);
        inner.hover(None);
    }

    /// Moves the keyboard's place along the ring and says where it is now.
    pub(crate) fn step(&self, step: isize) -> Option<NodeId> {
        let mut inner = self.0.borrow_mut();
        let from = inner.cursor.or(inner.selected);
        inner.cursor = inner.scene.neighbour(from, step);
        inner.wake();
        inner.cursor
    }

    /// Puts the keyboard's place at the first or last node of the ring.
    pub(crate) fn step_to_end(&self, last: bool) -> Option<NodeId> {
        let mut inner = self.0.borrow_mut();
        inner.cursor = inner.scene.neighbour(None, if last { -1 } else { 1 });
        inner.wake();
        inner.cursor
    }

    /// Where the keyboard is.
    pub(crate) fn cursor(&self) -> Option<NodeId> {
        self.0.borrow().cursor
    }

    /// The keyboard went elsewhere.
    pub(crate) fn drop_cursor(&self) {
        let mut inner = self.0.borrow_mut();
        inner.cursor = None;
        inner.wake();
    }

    /// Stops drawing for good.
    pub(crate) fn close(&self) {
        let mut inner = self.0.borrow_mut();
        if let Some(handle) = inner.requested.take() {
            // Refused only outside a window.
            let _ = dom::window().cancel_animation_frame(handle);
        }
        inner.on_frame = None;
    }
}

fn on_frame(this: &Weak<RefCell<Inner>>, now_ms: f64) {
    let Some(this) = this.upgrade() else { return };
    let mut inner = this.borrow_mut();
    inner.requested = None;
    if inner.scene.edges().len() > MANY_EDGES && now_ms - inner.drawn_ms < MANY_EDGES_MS {
        inner.wake();
        return;
    }
    inner.drawn_ms = now_ms;
    let step = inner.last_frame_ms.map_or(0.016, |last| ((now_ms - last) / 1e3).clamp(0.0, LONGEST_STEP));
    let moving = inner.scene.advance(step, dom::prefers_reduced_motion());
    inner.draw();
    inner.last_frame_ms = moving.then_some(now_ms);
    if moving {
        inner.wake();
    }
}

impl Inner {
    fn wake(&mut self) {
        if self.requested.is_some() {
            return;
        }
        if let Some(on_frame) = &self.on_frame {
            let call: &Function = on_frame.as_ref().unchecked_ref();
            self.requested = dom::window().request_animation_frame(call).ok();
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a canvas is some thousand pixels
    fn measure(&mut self) {
        let rect = self.canvas.get_bounding_client_rect();
        self.viewport = Viewport { width: rect.width(), height: rect.height() };
        let ratio = dom::window().device_pixel_ratio().max(1.0);
        let (width, height) = ((rect.width() * ratio).round() as u32, (rect.height() * ratio).round() as u32);
        if (self.canvas.width(), self.canvas.height()) != (width, height) {
            self.canvas.set_width(width);
            self.canvas.set_height(height);
        }
        // Refused only for a matrix that is none.
        let _ = self.context.set_transform(ratio, 0.0, 0.0, ratio, 0.0, 0.0);
    }

    fn draw(&mut self) {
        let frame = Frame {
            context: &self.context,
            scene: &self.scene,
            camera: &self.camera,
            viewport: self.viewport,
            palette: &self.palette,
            rtts: &self.rtts,
            selected: self.selected,
            hovered: self.hovered,
            cursor: self.cursor,
        };
        self.drawn = frame.draw();
        self.publish();
    }

    /// Writes down, for tests and for nobody else, what this frame drew.
    fn publish(&self) {
        let mut positions = String::from("[");
        for (id, at) in &self.drawn.nodes {
            let comma = if positions.len() > 1 { "," } else { "" };
            // Writing to a string never fails.
            let _ = write!(positions, "{comma}[\"{id}\",{:.1},{:.1}]", at.x, at.y);
        }
        positions.push(']');
        let values = [
            ("data-drawn-nodes", self.drawn.nodes.len().to_string()),
            ("data-drawn-edges", self.drawn.edges.to_string()),
            ("data-drawn-half-edges", self.drawn.halves.to_string()),
            ("data-drawn-one-way", self.drawn.one_way.to_string()),
            ("data-node-positions", positions),
        ];
        for (name, value) in values {
            // Refused only for a name that is none.
            let _ = self.canvas.set_attribute(name, &value);
        }
    }

    fn zoom(&mut self, factor: f64, at: Point) {
        self.camera.zoom(factor, at, self.viewport);
        self.wake();
    }

    fn hover(&mut self, at: Option<Point>) {
        let node = at.and_then(|at| self.node_at(at));
        self.set_cursor_shape(if node.is_some() { "pointer" } else { "grab" });
        if node != self.hovered {
            self.hovered = node;
            self.wake();
        }
    }

    /// The node drawn at, or within a finger's breadth of, a point of the canvas.
    fn node_at(&self, at: Point) -> Option<NodeId> {
        let reach = Frame::node_radius(&self.scene, &self.camera, self.viewport) + 8.0;
        self.drawn
            .nodes
            .iter()
            .map(|&(id, place)| (id, place.distance(at)))
            .filter(|&(_, distance)| distance <= reach)
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(id, _)| id)
    }

    fn set_cursor_shape(&self, shape: &str) {
        // Refused only for a property that is none.
        let _ = self.canvas.style().set_property("cursor", shape);
    }
}
