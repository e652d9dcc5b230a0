//! From the world to the screen and back.
//!
//! The ring of nodes has radius 1 around the world's origin however many there are,
//! so what "fit" means depends on the viewport alone, and the camera need never move
//! by itself when nodes come and go.

/// A place, in the world's units or in CSS pixels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Point {
    /// Rightwards.
    pub(crate) x: f64,
    /// Downwards.
    pub(crate) y: f64,
}

impl Point {
    /// A place.
    pub(crate) const fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }

    /// How far apart two places are.
    pub(crate) fn distance(self, other: Self) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }
}

/// The canvas in CSS pixels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Viewport {
    /// Its width.
    pub(crate) width: f64,
    /// Its height.
    pub(crate) height: f64,
}

impl Viewport {
    /// The middle of what is free of buttons.
    pub(crate) fn middle(self) -> Point {
        Point::new(self.width / 2.0, (self.height - FOOT) / 2.0)
    }
}

/// What part of the world is seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Camera {
    /// The world's place in the middle of the viewport; none while it fits by itself.
    view: Option<View>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct View {
    center: Point,
    /// Pixels per unit.
    scale: f64,
}

/// Room around the ring for labels, in CSS pixels.
const MARGIN: f64 = 54.0;
/// Room at the bottom for the legend and the camera's buttons.
const FOOT: f64 = 36.0;
const MIN_ZOOM: f64 = 0.4;
const MAX_ZOOM: f64 = 12.0;

impl Camera {
    /// One that shows the whole ring.
    pub(crate) const fn fitting() -> Self {
        Self { view: None }
    }

    /// Pixels per unit at which the ring fits.
    pub(crate) fn fit_scale(viewport: Viewport) -> f64 {
        (viewport.width.min(viewport.height - FOOT) / 2.0 - MARGIN).max(24.0)
    }

    /// Pixels per unit.
    pub(crate) fn scale(&self, viewport: Viewport) -> f64 {
        self.seen(viewport).scale
    }

    /// Where a place of the world is on the screen.
    pub(crate) fn project(&self, world: Point, viewport: Viewport) -> Point {
        let view = self.seen(viewport);
        let middle = viewport.middle();
        Point::new(
            (world.x - view.center.x) * view.scale + middle.x,
            (world.y - view.center.y) * view.scale + middle.y,
        )
    }

    /// Moves what is seen by this many pixels.
    pub(crate) fn pan(&mut self, dx: f64, dy: f64, viewport: Viewport) {
        let mut view = self.seen(viewport);
        view.center.x = (view.center.x - dx / view.scale).clamp(-3.0, 3.0);
        view.center.y = (view.center.y - dy / view.scale).clamp(-3.0, 3.0);
        self.view = Some(view);
    }

    /// Zooms by `factor`; what is under `anchor` stays under it.
    pub(crate) fn zoom(&mut self, factor: f64, anchor: Point, viewport: Viewport) {
        let mut view = self.seen(viewport);
        let fit = Self::fit_scale(viewport);
        let scale = (view.scale * factor).clamp(fit * MIN_ZOOM, fit * MAX_ZOOM);
        let from_middle = Point::new(anchor.x - viewport.middle().x, anchor.y - viewport.middle().y);
        view.center.x += from_middle.x / view.scale - from_middle.x / scale;
        view.center.y += from_middle.y / view.scale - from_middle.y / scale;
        view.scale = scale;
        self.view = Some(view);
    }

    fn seen(&self, viewport: Viewport) -> View {
        self.view.unwrap_or(View { center: Point::new(0.0, 0.0), scale: Self::fit_scale(viewport) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEWPORT: Viewport = Viewport { width: 800.0, height: 600.0 };

    #[test]
    fn a_fitting_camera_shows_the_whole_ring_and_follows_the_viewport() {
        let camera = Camera::fitting();
        for viewport in [VIEWPORT, Viewport { width: 390.0, height: 420.0 }] {
            let right = camera.project(Point::new(1.0, 0.0), viewport);
            let bottom = camera.project(Point::new(0.0, 1.0), viewport);
            assert!(right.x < viewport.width && bottom.y < viewport.height);
        }
    }

    #[test]
    fn zooming_keeps_what_is_under_the_pointer() {
        let mut camera = Camera::fitting();
        let world = Point::new(0.5, -0.25);
        let anchor = camera.project(world, VIEWPORT);
        camera.zoom(2.5, anchor, VIEWPORT);
        assert!(camera.project(world, VIEWPORT).distance(anchor) < 1e-9);
    }

    #[test]
    fn panning_moves_by_what_the_hand_moved() {
        let mut camera = Camera::fitting();
        let before = camera.project(Point::default(), VIEWPORT);
        camera.pan(30.0, -12.0, VIEWPORT);
        let after = camera.project(Point::default(), VIEWPORT);
        assert!((after.x - before.x - 30.0).abs() < 1e-9 && (after.y - before.y + 12.0).abs() < 1e-9);
    }

    #[test]
    fn nobody_can_zoom_the_mesh_out_of_sight() {
        let mut camera = Camera::fitting();
        for _ in 0..100 {
            camera.zoom(0.5, Point::default(), VIEWPORT);
        }
        assert!(camera.scale(VIEWPORT) >= Camera::fit_scale(VIEWPORT) * MIN_ZOOM - 1e-9);
    }
}
