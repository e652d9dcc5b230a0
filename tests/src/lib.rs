//! Whole-system tests of Meshground.
