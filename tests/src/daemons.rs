//! Daemons for tests.

use std::sync::Arc;

use meshground_node::{
    DaemonError, DaemonEvent, DaemonFactory, DaemonOrder, Filter, MeshDaemon, MeshOs, Now, Outputs,
};

/// Writes down every payload it is sent, and replies with how many there are. Crashes over `crash`. Cannot be made with
/// the arguments `unmakeable` or, on one node, `not on` and its id. With `needs` and a tag it requires that of its node.
#[derive(Debug, Default)]
pub struct Diary {
    /// What it was sent, in order.
    pub entries: Vec<Vec<u8>>,
    /// The tag its node must announce.
    pub needs: Option<String>,
}

impl Diary {
    /// What makes diaries.
    pub fn factory() -> Arc<dyn DaemonFactory> {
        Arc::new(|order: &DaemonOrder| -> Result<Box<dyn MeshDaemon>, DaemonError> {
            let here = format!("not on {}", order.place.node);
            if order.args == "unmakeable" || order.args == here {
                return Err(DaemonError::new("as it was told"));
            }
            let needs = order.args.strip_prefix("needs ").map(str::to_owned);
            Ok(Box::new(Self { needs, ..Self::default() }))
        })
    }

    /// Lets a part of the system make diaries.
    pub fn prepare(os: &mut MeshOs, now: Now) {
        os.register_factory(now, "diary", Self::factory());
    }

    /// The entries of a diary with this state.
    ///
    /// # Panics
    /// When it is none.
    pub fn read(state: &[u8]) -> Vec<Vec<u8>> {
        let mut entries = Vec::new();
        let mut rest = state;
        while let Some((len, after)) = rest.split_first_chunk::<4>() {
            let (entry, after) = after.split_at(u32::from_le_bytes(*len) as usize);
            entries.push(entry.to_vec());
            rest = after;
        }
        entries
    }
}

impl MeshDaemon for Diary {
    fn name(&self) -> String {
        "diary".to_owned()
    }

    fn requirements(&self) -> Filter {
        self.needs.iter().fold(Filter::any(), Filter::with_tag)
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        if let DaemonEvent::Message { payload, .. } = event {
            if payload == b"crash" {
                return Err(DaemonError::new("as it was told"));
            }
            self.entries.push(payload);
            outputs.reply(self.entries.len().to_string());
        }
        Ok(())
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        let mut state = Vec::new();
        for entry in &self.entries {
            let len = u32::try_from(entry.len()).expect("small");
            state.extend_from_slice(&len.to_le_bytes());
            state.extend_from_slice(entry);
        }
        Some(state)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DaemonError> {
        self.entries = Self::read(state);
        Ok(())
    }
}

/// Replies with what it is sent, and has no state.
#[derive(Debug, Default)]
pub struct Echo;

impl Echo {
    /// Lets a part of the system make echoes.
    pub fn prepare(os: &mut MeshOs, now: Now) {
        let make = |_: &DaemonOrder| -> Result<Box<dyn MeshDaemon>, DaemonError> { Ok(Box::new(Self)) };
        os.register_factory(now, "echo", Arc::new(make));
    }
}

impl MeshDaemon for Echo {
    fn name(&self) -> String {
        "echo".to_owned()
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        if let DaemonEvent::Message { payload, .. } = event {
            outputs.reply(payload);
        }
        Ok(())
    }
}

/// Does nothing, and has no state.
#[derive(Debug, Default)]
pub struct Idle;

impl Idle {
    /// What makes idle ones.
    pub fn factory() -> Arc<dyn DaemonFactory> {
        Arc::new(|_: &DaemonOrder| -> Result<Box<dyn MeshDaemon>, DaemonError> { Ok(Box::new(Self)) })
    }

    /// Lets a part of the system make idle ones.
    pub fn prepare(os: &mut MeshOs, now: Now) {
        os.register_factory(now, "idle", Self::factory());
    }
}

impl MeshDaemon for Idle {
    fn name(&self) -> String {
        "idle".to_owned()
    }

    fn process(&mut self, _: DaemonEvent, _: &mut Outputs) -> Result<(), DaemonError> {
        Ok(())
    }
}
