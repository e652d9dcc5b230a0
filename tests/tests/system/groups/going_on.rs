//! A standby group that goes on in two places that do not see each other.

use std::time::Duration;

use meshground_node::Settlement;
use meshground_tests::sim::{Faults, each_seed};

use super::{
    divide, mesh,
    standbys::{active, keeps, move_active, standing, stands},
    view,
};
use crate::settled;

#[test]
fn where_an_active_moved_while_those_in_sync_went_on_without_it_theirs_stays_and_everybody_is_answered() {
    each_seed(8, |seed| {
        let mut network = mesh(seed, Faults::NONE, 5);
        let (group, daemon) = standing(&mut network);
        stands(&mut network, group);
        let view = view(&network, 0, group).expect("it knows");
        let first = active(&network, group).expect("it runs");
        let stands_by =
            |number: &usize| view.members[1..].iter().any(|it| it.node == Some(network.id(*number)));
        let (in_sync, others): (Vec<usize>, Vec<usize>) =
            (0..5).filter(|number| *number != first).partition(stands_by);
        let (near, far) = (others[0], in_sync[0]);
        let mut sent = Vec::new();
        for round in 0..4 {
            if round == 1 {
                divide(&mut network, &in_sync);
            }
            if round == 2 {
                let moved = move_active(&mut network, first, others[1], daemon);
                assert!(matches!(settled(&mut network, first, moved), Settlement::Migrated(Ok(_))));
            }
            for from in [near, far] {
                let text = format!("{from}-{round}");
                sent.push((from, crate::send(&mut network, from, daemon, &text), text));
            }
            network.run_for(Duration::from_millis(20));
        }
        let last = sent.last().map(|(_, ticket, _)| *ticket).expect("some were sent");
        let taken_over = settled(&mut network, far, last);
        assert!(
            matches!(taken_over, Settlement::Delivered(Ok(_))),
            "beyond the cut they go on: {taken_over:?}"
        );
        network.cuts.clear();
        network.dial_all();
        stands(&mut network, group);
        for from in [near, far] {
            let text = format!("{from}-after");
            sent.push((from, crate::send(&mut network, from, daemon, &text), text));
        }
        for (from, ticket, text) in &sent {
            let outcome = settled(&mut network, *from, *ticket);
            assert!(matches!(outcome, Settlement::Delivered(Ok(_))), "{text}: {outcome:?}");
        }
        let at = active(&network, group).expect("it runs");
        assert!(in_sync.contains(&at), "{at} of {in_sync:?} has what was acknowledged");
        for from in [near, far] {
            let its = sent.iter().filter(|(by, ..)| *by == from).map(|(.., text)| text.clone());
            keeps(&mut network, group, daemon, &its.collect::<Vec<_>>());
        }
    });
}
