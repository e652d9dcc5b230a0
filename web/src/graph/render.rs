//! One frame of the graph on a 2D canvas.

// Screen coordinates are a few thousand pixels; counts a few thousand lines.
#![allow(clippy::cast_precision_loss)]

use std::f64::consts::TAU;

use js_sys::Array;
use meshground_shared::{Health, NodeId, NodeState};
use web_sys::CanvasRenderingContext2d as Context;

use super::{
    camera::{Camera, Point, Viewport},
    palette::Palette,
    scene::{Body, Line, Scene},
};
use crate::{names::short_id, state::Rtts, text};

/// What a frame shows.
pub(crate) struct Frame<'a> {
    /// Where everything is drawn.
    pub(crate) context: &'a Context,
    /// What stands where.
    pub(crate) scene: &'a Scene,
    /// What part of it is seen.
    pub(crate) camera: &'a Camera,
    /// On how many pixels.
    pub(crate) viewport: Viewport,
    /// In which colours.
    pub(crate) palette: &'a Palette,
    /// Round-trip times, for the lines of the node in focus.
    pub(crate) rtts: &'a Rtts,
    /// The node whose panel is open.
    pub(crate) selected: Option<NodeId>,
    /// The node under the pointer.
    pub(crate) hovered: Option<NodeId>,
    /// The node the arrow keys have reached, while the graph has the keyboard.
    pub(crate) cursor: Option<NodeId>,
}

/// What a frame drew.
#[derive(Debug, Default)]
pub(crate) struct Drawn {
    /// Members and where, in CSS pixels from the canvas's top left corner.
    pub(crate) nodes: Vec<(NodeId, Point)>,
    /// How many sessions held at both ends.
    pub(crate) edges: usize,
    /// How many sessions held at one end only.
    pub(crate) halves: usize,
    /// How many of all those with an arrow: packets get through one way only.
    pub(crate) one_way: usize,
}

/// Below this many nodes there is room for ids.
const ID_LABELS: usize = 28;
/// The same on a narrow screen.
const ID_LABELS_NARROW: usize = 9;
/// A screen narrower than this has no room beside the ring.
const NARROW: f64 = 520.0;
/// Up to this many lines of the node in focus carry their round-trip time.
const RTT_LABELS: usize = 16;
/// Up to this many nodes, a bad line carries its verdict's sign.
const LINE_SIGNS: usize = 24;
/// Pixels a line's sign needs beside its node.
const SIGN_ROOM: f64 = 9.0;

impl Frame<'_> {
    /// Draws it.
    pub(crate) fn draw(&self) -> Drawn {
        let mut drawn = Drawn::default();
        self.context.clear_rect(0.0, 0.0, self.viewport.width, self.viewport.height);
        self.draw_guide();
        let lit = self.lit();
        let touches = |line: &Line| lit.is_none_or(|lit| line.from == lit || line.to == lit);
        let strength = self.edge_strength();
        // First what stands back, then what is in focus.
        for focus in [false, true] {
            for line in self.scene.edges().iter().filter(|line| touches(line) == focus) {
                drawn.edges += usize::from(self.draw_line(line, false, focus, lit.is_some(), strength));
            }
            for line in self.scene.halves().iter().filter(|line| touches(line) == focus) {
                drawn.halves += usize::from(self.draw_line(line, true, focus, lit.is_some(), strength));
            }
        }
        if let Some(lit) = lit {
            self.draw_rtts(lit);
        }
        let all = self.scene.edges().iter().chain(self.scene.halves());
        drawn.one_way = all.filter(|line| line.deaf.is_some()).count();
        let near = lit.map(|lit| self.scene.neighbourhood(lit));
        for (&id, body) in self.scene.bodies() {
            let dim = near.as_ref().is_some_and(|near| !near.contains(&id));
            let at = self.place(body);
            self.draw_node(id, body, at, dim);
            if body.member {
                drawn.nodes.push((id, at));
            }
        }
        self.context.set_global_alpha(1.0);
        drawn
    }

    /// How big a node is drawn, in pixels.
    pub(crate) fn node_radius(scene: &Scene, camera: &Camera, viewport: Viewport) -> f64 {
        let nodes = scene.members().max(1) as f64;
        let around = TAU * scene.ring_radius().max(0.5) * camera.scale(viewport);
        (around / nodes * 0.27).clamp(3.5, 22.0)
    }

    fn radius(&self) -> f64 {
        Self::node_radius(self.scene, self.camera, self.viewport)
    }

    fn lit(&self) -> Option<NodeId> {
        self.hovered.or(self.cursor).or(self.selected).filter(|id| self.scene.bodies().contains_key(id))
    }

    fn place(&self, body: &Body) -> Point {
        self.camera.project(body.at, self.viewport)
    }

    /// Many edges are drawn faint, so that a dense mesh stays a texture and not a blot.
    fn edge_strength(&self) -> f64 {
        let edges = self.scene.edges().len().max(1) as f64;
        (4.4 / edges.sqrt()).clamp(0.07, 0.8)
    }

    fn draw_guide(&self) {
        if self.scene.ring_radius() <= 0.0 || self.scene.members() < 3 {
            return;
        }
        let middle = self.camera.project(Point::default(), self.viewport);
        self.context.set_global_alpha(1.0);
        self.context.set_stroke_style_str(&self.palette.guide);
        self.context.set_line_width(1.0);
        self.circle(middle, self.scene.ring_radius() * self.camera.scale(self.viewport));
        self.context.stroke();
    }

    fn draw_line(&self, line: &Line, half: bool, focus: bool, any_lit: bool, strength: f64) -> bool {
        let bodies = self.scene.bodies();
        let (Some(from), Some(to)) = (bodies.get(&line.from), bodies.get(&line.to)) else { return false };
        let (start, end) = (self.place(from), self.place(to));
        let context = self.context;
        let bad = line.health != Health::Healthy;
        let dense = self.scene.members() > 32;
        let base = match (any_lit && focus, half || bad) {
            (true, _) if dense => 0.6,
            (true, _) => 0.95,
            (false, true) => strength.max(0.55),
            (false, false) => strength,
        };
        // A passing look dims the rest more than a lasting selection.
        let aside = if self.hovered.is_some() { 0.28 } else { 0.45 };
        let alpha = if any_lit && !focus { base * aside } else { base };
        context.set_global_alpha(alpha * line.presence);
        context.set_stroke_style_str(self.palette.health(line.health));
        let fine = self.scene.edges().len() > 200;
        context.set_line_width(match (any_lit && focus, bad) {
            (true, _) if dense => 1.3,
            (true, _) => 2.0,
            (false, true) => 1.8,
            (false, false) if fine => 0.9,
            (false, false) => 1.4,
        });
        if half {
            let dash = if line.health == Health::Unreachable { [2.0, 5.0] } else { [6.0, 5.0] };
            self.dash(&dash);
        }
        // A new session grows out of the node that has the lower id.
        let tip = Point::new(
            start.x + (end.x - start.x) * line.presence,
            start.y + (end.y - start.y) * line.presence,
        );
        context.begin_path();
        context.move_to(start.x, start.y);
        context.line_to(tip.x, tip.y);
        context.stroke();
        if half {
            self.dash(&[]);
        }
        if let Some(deaf) = line.deaf {
            // Packets still get through away from the end that does not hear.
            let (away, towards) = if deaf == line.from { (start, end) } else { (end, start) };
            self.arrow(away, towards, 0.72, self.palette.health(line.health));
        }
        if bad && self.scene.members() <= LINE_SIGNS {
            // The verdict of a half edge is its holder's, so it stands nearer to it.
            let way = if half { 0.36 } else { 0.5 };
            if start.distance(end) * way < self.radius() + SIGN_ROOM {
                // It would disappear behind its own node.
                return true;
            }
            let at = Point::new(start.x + (end.x - start.x) * way, start.y + (end.y - start.y) * way);
            self.draw_sign(at, 6.5, line.health);
        }
        true
    }

    fn draw_rtts(&self, lit: NodeId) {
        let bodies = self.scene.bodies();
        let lines: Vec<_> =
            self.scene.edges().iter().filter(|line| line.from == lit || line.to == lit).collect();
        if lines.len() > RTT_LABELS {
            return;
        }
        let context = self.context;
        context.set_font(&format!("500 11px {}", self.palette.sans));
        context.set_text_align("center");
        context.set_text_baseline("middle");
        for line in lines {
            let peer = if line.from == lit { line.to } else { line.from };
            let rtt = self.rtts.get(&(lit, peer)).or_else(|| self.rtts.get(&(peer, lit)));
            let (Some(&rtt), Some(here), Some(there)) = (rtt, bodies.get(&lit), bodies.get(&peer)) else {
                continue;
            };
            let (here, there) = (self.place(here), self.place(there));
            // Nearer to the far end, where the fan has room.
            let at = Point::new(here.x + (there.x - here.x) * 0.64, here.y + (there.y - here.y) * 0.64);
            let label = text::duration(u64::from(rtt));
            let width = context.measure_text(&label).map_or(48.0, |metrics| metrics.width()) + 12.0;
            context.set_global_alpha(0.94);
            context.set_fill_style_str(&self.palette.ground);
            context.begin_path();
            // Refused only for a negative radius.
            let _ = context.round_rect_with_f64(at.x - width / 2.0, at.y - 9.0, width, 18.0, 9.0);
            context.fill();
            context.set_global_alpha(1.0);
            context.set_fill_style_str(&self.palette.text);
            let _ = context.fill_text(&label, at.x, at.y + 0.5);
        }
    }

    fn draw_node(&self, id: NodeId, body: &Body, at: Point, dim: bool) {
        let context = self.context;
        let palette = self.palette;
        let radius = self.radius() * (0.4 + 0.6 * body.presence);
        let faint = dim || body.state == NodeState::Leaving;
        let alpha = body.presence * if faint { 0.45 } else { 1.0 };
        let dead = body.state == NodeState::Crashed;
        let verdict = body.verdict.unwrap_or(Health::Healthy);
        let colour = palette.health(if dead { Health::Unreachable } else { verdict });

        // Cuts the lines off at the node's rim.
        context.set_global_alpha(body.presence);
        context.set_fill_style_str(&palette.ground);
        self.circle(at, radius + 2.5);
        context.fill();

        context.set_global_alpha(alpha);
        let tiny = radius < 8.0;
        context.set_fill_style_str(match (dead, tiny) {
            (true, _) => &palette.ground,
            (false, true) => colour,
            (false, false) => &palette.node,
        });
        self.circle(at, radius);
        context.fill();
        context.set_stroke_style_str(colour);
        context.set_line_width(if tiny { 1.5 } else { 2.0 });
        if dead {
            self.dash(&[3.0, 3.0]);
        }
        context.stroke();
        if dead {
            self.dash(&[]);
            self.cross(at, radius * 0.36, if tiny { 1.4 } else { 2.0 });
        } else if body.state == NodeState::Paused {
            self.bars(at, radius * 0.4);
        } else if !tiny {
            context.set_fill_style_str(&palette.text);
            context.set_font(&format!("600 {}px {}", (radius * 0.72).clamp(9.0, 15.0), palette.sans));
            context.set_text_align("center");
            context.set_text_baseline("middle");
            let _ = context.fill_text(&body.index.to_string(), at.x, at.y + 0.5);
        }
        if !dead && verdict != Health::Healthy {
            let edge = radius * std::f64::consts::FRAC_1_SQRT_2;
            self.draw_sign(Point::new(at.x + edge, at.y - edge), (radius * 0.42).clamp(4.5, 8.0), verdict);
        }
        if !tiny {
            self.draw_work(body, at, radius);
        }
        self.draw_halo(id, at, radius);
        context.set_global_alpha(alpha);
        self.draw_label(id, body, at, radius);
    }

    /// How many daemons it runs, and whether it is out of service.
    fn draw_work(&self, body: &Body, at: Point, radius: f64) {
        let context = self.context;
        let edge = radius * std::f64::consts::FRAC_1_SQRT_2;
        let size = (radius * 0.42).clamp(5.5, 8.0);
        if body.daemons > 0 {
            let at = Point::new(at.x + edge, at.y + edge);
            let count = if body.daemons > 99 { "99+".to_owned() } else { body.daemons.to_string() };
            context.set_font(&format!("600 {}px {}", size * 1.3, self.palette.sans));
            // Every figure after the first makes the badge wider.
            let wide = (count.len() as f64 - 1.0) * size * 0.7;
            let pill = |grown: f64| {
                context.begin_path();
                let (width, height) = (2.0 * size + wide + 2.0 * grown, 2.0 * (size + grown));
                // Refused only for a negative radius.
                let _ = context.round_rect_with_f64(
                    at.x - size - grown,
                    at.y - size - grown,
                    width,
                    height,
                    size + grown,
                );
                context.fill();
            };
            context.set_fill_style_str(&self.palette.ground);
            pill(1.5);
            context.set_fill_style_str(&self.palette.accent);
            pill(0.0);
            context.set_fill_style_str(&self.palette.ground);
            context.set_text_align("center");
            context.set_text_baseline("middle");
            let _ = context.fill_text(&count, at.x + wide / 2.0, at.y + 0.5);
        }
        if let Some(tone) = body.service {
            let at = Point::new(at.x - edge, at.y + edge);
            context.set_fill_style_str(&self.palette.ground);
            self.circle(at, size + 1.5);
            context.fill();
            context.set_fill_style_str(self.palette.tone(tone));
            self.circle(at, size);
            context.fill();
            // No entry.
            context.set_fill_style_str(&self.palette.ground);
            context.fill_rect(at.x - size * 0.58, at.y - size * 0.18, size * 1.16, size * 0.36);
        }
    }

    /// The sign of someone who stands still.
    fn bars(&self, at: Point, reach: f64) {
        self.context.set_fill_style_str(&self.palette.text);
        let width = (reach * 0.55).max(1.5);
        for left in [at.x - reach * 0.3 - width, at.x + reach * 0.3] {
            self.context.fill_rect(left, at.y - reach, width, reach * 2.0);
        }
    }

    fn draw_halo(&self, id: NodeId, at: Point, radius: f64) {
        let context = self.context;
        let chosen = self.selected == Some(id);
        let reached = self.cursor == Some(id);
        if !chosen && !reached && self.hovered != Some(id) {
            return;
        }
        context.set_stroke_style_str(&self.palette.accent);
        context.set_global_alpha(if chosen || reached { 1.0 } else { 0.5 });
        context.set_line_width(2.0);
        self.circle(at, radius + 4.5);
        context.stroke();
        if reached {
            context.set_global_alpha(0.35);
            context.set_line_width(4.0);
            self.circle(at, radius + 8.0);
            context.stroke();
        }
    }

    fn draw_label(&self, id: NodeId, body: &Body, at: Point, radius: f64) {
        let context = self.context;
        let around = TAU * self.scene.ring_radius() * self.camera.scale(self.viewport);
        let spacing = around / self.scene.members().max(1) as f64;
        let special = self.hovered == Some(id) || self.selected == Some(id) || self.cursor == Some(id);
        let narrow = self.viewport.width < NARROW;
        let room = if narrow { ID_LABELS_NARROW } else { ID_LABELS };
        let with_id = special || spacing >= 17.0 && self.scene.members() <= room;
        let tiny = radius < 8.0 || body.state == NodeState::Crashed;
        if !(with_id || tiny && spacing >= 11.0) {
            return;
        }
        if special && narrow && self.scene.members() > room {
            // Beside the ring it would lie over the neighbours.
            if self.lit() == Some(id) {
                let label = format!("{} · {}", body.index, short_id(id));
                context.set_font(&format!("600 11.5px {}", self.palette.mono));
                context.set_text_align("center");
                context.set_text_baseline("top");
                context.set_fill_style_str(&self.palette.text);
                let _ = context.fill_text(&label, self.viewport.width / 2.0, 12.0);
            }
            return;
        }
        let out = body.outwards;
        let gap = radius + if special { 14.0 } else { 9.0 };
        // On a narrow screen there is room above and below, not beside.
        let out = match (narrow && with_id, out.y < 0.0) {
            (false, _) => out,
            (true, true) => Point::new(0.0, -1.0),
            (true, false) => Point::new(0.0, 1.0),
        };
        // The badges stick out to the sides.
        let badges = if !tiny && (body.daemons > 0 || body.service.is_some()) { 5.0 } else { 0.0 };
        let (x, y) = (at.x + out.x * (gap + badges), at.y + out.y * gap);
        context.set_text_align(match out.x {
            x if x > 0.25 => "left",
            x if x < -0.25 => "right",
            _ => "center",
        });
        context.set_text_baseline(match out.y {
            y if y > 0.7 => "top",
            y if y < -0.7 => "bottom",
            _ => "middle",
        });
        let label = match (with_id, tiny) {
            (true, true) => format!("{} · {}", body.index, short_id(id)),
            (true, false) => short_id(id),
            (false, _) => body.index.to_string(),
        };
        let size = if with_id { 11.5 } else { 10.0 };
        context.set_font(&format!("{} {size}px {}", if special { 600 } else { 400 }, self.palette.mono));
        context.set_line_width(4.0);
        context.set_line_join("round");
        context.set_stroke_style_str(&self.palette.ground);
        let _ = context.stroke_text(&label, x, y);
        context.set_fill_style_str(if special { &self.palette.text } else { &self.palette.faint });
        let _ = context.fill_text(&label, x, y);
    }

    /// A verdict by shape: `!` is Suspect, a cross is Unreachable.
    fn draw_sign(&self, at: Point, radius: f64, health: Health) {
        let context = self.context;
        context.set_fill_style_str(&self.palette.ground);
        self.circle(at, radius + 1.5);
        context.fill();
        context.set_fill_style_str(self.palette.health(health));
        self.circle(at, radius);
        context.fill();
        context.set_stroke_style_str(&self.palette.ground);
        if health == Health::Unreachable {
            self.cross(at, radius * 0.38, 1.8);
            return;
        }
        context.set_line_width(1.8);
        context.begin_path();
        context.move_to(at.x, at.y - radius * 0.52);
        context.line_to(at.x, at.y + radius * 0.12);
        context.move_to(at.x, at.y + radius * 0.42);
        context.line_to(at.x, at.y + radius * 0.58);
        context.stroke();
    }

    /// A filled arrowhead on the way from one point to another.
    fn arrow(&self, from: Point, to: Point, way: f64, colour: &str) {
        let length = from.distance(to);
        if length < 4.0 * SIGN_ROOM {
            return;
        }
        let along = Point::new((to.x - from.x) / length, (to.y - from.y) / length);
        let at = Point::new(from.x + (to.x - from.x) * way, from.y + (to.y - from.y) * way);
        let corner = |ahead: f64, aside: f64| {
            (at.x + along.x * ahead - along.y * aside, at.y + along.y * ahead + along.x * aside)
        };
        let context = self.context;
        context.set_fill_style_str(colour);
        context.begin_path();
        let (tip, left, right) = (corner(8.0, 0.0), corner(-6.0, 6.0), corner(-6.0, -6.0));
        context.move_to(tip.0, tip.1);
        context.line_to(left.0, left.1);
        context.line_to(right.0, right.1);
        context.close_path();
        context.fill();
    }

    fn cross(&self, at: Point, arm: f64, width: f64) {
        let context = self.context;
        context.set_line_width(width);
        context.begin_path();
        context.move_to(at.x - arm, at.y - arm);
        context.line_to(at.x + arm, at.y + arm);
        context.move_to(at.x + arm, at.y - arm);
        context.line_to(at.x - arm, at.y + arm);
        context.stroke();
    }

    fn circle(&self, at: Point, radius: f64) {
        self.context.begin_path();
        // Refused only for a negative radius.
        let _ = self.context.arc(at.x, at.y, radius.max(0.0), 0.0, TAU);
    }

    fn dash(&self, pattern: &[f64]) {
        let pattern: Array = pattern.iter().copied().map(wasm_bindgen::JsValue::from_f64).collect();
        let _ = self.context.set_line_dash(&pattern);
    }
}
