//! Signed commands over the WebSocket.

use meshground_node::{
    WallTime,
    admin::{AdminCommand, Nonce, OperatorKey},
};
use meshground_shared::{
    AdminVerb, Decision, Hex, IceVerb, LinkFault, Maintenance, Rejection, SimulationHash,
    rpc::{
        AdminAudit, AdminExecute, AdminSubmit, AuditParams, DaemonSpawn, DaemonSpawnParams, Decided,
        ExecuteParams, FaultParams, FaultSet, IceExecute, IceExecuteParams, IceSimulate, SimulateParams,
        Simulated, SubmitParams,
    },
};

use super::*;

async fn execute(client: &mut Client, verb: AdminVerb, via: Option<NodeId>) -> Result<Decided, RpcError> {
    client.call::<AdminExecute>(&ExecuteParams { verb, via, operator: "demo".to_owned() }).await
}

async fn simulate(client: &mut Client, verb: &IceVerb) -> Result<Simulated, RpcError> {
    client.call::<IceSimulate>(&SimulateParams { verb: verb.clone(), via: None }).await
}

async fn execute_ice(
    client: &mut Client,
    verb: &IceVerb,
    simulation: SimulationHash,
    operators: Option<&[&str]>,
) -> Result<Decided, RpcError> {
    let operators = operators.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    let params = IceExecuteParams { verb: verb.clone(), simulation, operators, via: None };
    client.call::<IceExecute>(&params).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_takes_effect_and_is_in_the_trail_of_every_node() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let mut mirror = client.mirror().await;
    let decided = execute(&mut client, AdminVerb::Cordon { node: nodes[1] }, Some(nodes[2])).await.unwrap();
    assert_eq!(decided.decision, Decision::Applied);
    assert_eq!(decided.nodes.len(), 3, "{decided:?}");
    assert!(decided.nodes.iter().all(|node| node.decision == Decision::Applied));
    let is_its = |event: &Event| matches!(event.kind, EventKind::MaintenanceChanged { cordoned: true, .. });
    let event = mirror.until(&mut client, "the cordon", is_its).await;
    assert_eq!((event.node, event.cause), (Some(nodes[1]), Some(decided.command)), "it names the command");

    let params = DaemonSpawnParams { node: nodes[1], kind: "echo".to_owned(), args: String::new() };
    let refused = client.call::<DaemonSpawn>(&params).await.unwrap_err();
    assert!(refused.message.contains("cordoned"), "{refused}");

    let audit = client.call::<AdminAudit>(&AuditParams::default()).await.unwrap();
    assert_eq!(audit.nodes.len(), 3);
    for node in &audit.nodes {
        assert_eq!(node.entries.len(), 1);
        assert_eq!(node.entries[0].nonce, decided.nonce);
        assert_eq!(node.entries[0].operators, ["demo-1"]);
    }
    let only = AuditParams { verb: Some("drain".to_owned()), ..AuditParams::default() };
    let none = client.call::<AdminAudit>(&only).await.unwrap();
    assert!(none.nodes.iter().all(|node| node.entries.is_empty()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_on_a_node_moves_away_before_it_goes_into_maintenance() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let mut mirror = client.mirror().await;
    let params = DaemonSpawnParams { node: nodes[0], kind: "counter".to_owned(), args: "from=7".to_owned() };
    let daemon = client.call::<DaemonSpawn>(&params).await.unwrap().daemon;
    execute(&mut client, AdminVerb::EnterMaintenance { node: nodes[0] }, None).await.unwrap();
    let is_out = |fold: &Snapshot| {
        let elsewhere =
            fold.nodes.iter().any(|(id, node)| *id != nodes[0] && node.daemons.contains_key(&daemon));
        fold.nodes[&nodes[0]].maintenance == Maintenance::Maintenance && elsewhere
    };
    mirror.until_it_shows(&mut client, "maintenance", is_out).await;
    execute(&mut client, AdminVerb::ExitMaintenance { node: nodes[0] }, None).await.unwrap();
    let is_back = |fold: &Snapshot| !fold.nodes[&nodes[0]].cordoned;
    mirror.until_it_shows(&mut client, "the way back", is_back).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breaking_glass_needs_two_operators_and_a_look_at_what_it_does() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let freeze = IceVerb::FreezeCluster { ttl_ms: 60_000 };
    let simulated = simulate(&mut client, &freeze).await.unwrap();
    assert_eq!(simulated.radius.nodes.len(), 3);
    let blind = execute_ice(&mut client, &freeze, SimulationHash([0; 32]), None).await.unwrap_err();
    assert!(blind.is(ErrorCode::Rejected) && blind.message.contains("simulation_required"), "{blind}");
    let alone = execute_ice(&mut client, &freeze, simulated.simulation, Some(&["demo-3"])).await.unwrap_err();
    assert!(alone.message.contains("insufficient_signatures"), "{alone}");
    let nobody =
        execute_ice(&mut client, &freeze, simulated.simulation, Some(&["somebody"])).await.unwrap_err();
    assert!(nobody.is(ErrorCode::InvalidParams));
    let crowd =
        execute_ice(&mut client, &freeze, simulated.simulation, Some(&["demo-1"; 17])).await.unwrap_err();
    assert!(crowd.is(ErrorCode::InvalidParams) && crowd.message.contains("at most 16"), "{crowd}");
    let done = execute_ice(&mut client, &freeze, simulated.simulation, None).await.unwrap();
    assert_eq!(done.nodes.len(), 3);
    let frozen = execute(&mut client, AdminVerb::Drain { node: nodes[0] }, None).await.unwrap_err();
    assert!(frozen.message.contains("freeze_in_effect"), "{frozen}");
    let thaw = simulate(&mut client, &IceVerb::ThawCluster).await.unwrap();
    execute_ice(&mut client, &IceVerb::ThawCluster, thaw.simulation, None).await.unwrap();
    execute(&mut client, AdminVerb::Drain { node: nodes[0] }, None).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_decided_while_much_else_is_written_down() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let (done, mut is_done) = tokio::sync::oneshot::channel::<()>();
    let (address, [from, to]) = (server.local_addr(), [nodes[0], nodes[1]]);
    let spoiling = tokio::spawn(async move {
        let mut client = Client::connect(address).await;
        for delay_us in (1..=50).cycle() {
            let fault = LinkFault { delay_us, ..LinkFault::default() };
            client.call::<FaultSet>(&FaultParams { from, to, both_ways: true, fault }).await.unwrap();
            if is_done.try_recv().is_ok() {
                break;
            }
        }
    });
    for _ in 0..100 {
        for verb in [AdminVerb::Cordon { node: nodes[2] }, AdminVerb::Uncordon { node: nodes[2] }] {
            let decided = in_time("a decision", execute(&mut client, verb, None)).await.unwrap();
            assert_eq!(decided.nodes.len(), 3);
        }
    }
    done.send(()).unwrap();
    spoiling.await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_signed_elsewhere_is_taken_once_and_a_strangers_never() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 2).await.nodes;
    let wall = WallTime(
        u64::try_from(
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros(),
        )
        .unwrap(),
    );
    let command =
        |nonce: u8| AdminCommand::new(AdminVerb::Cordon { node: nodes[0] }, wall, Nonce([nonce; 16]));
    let submit = |envelope: Vec<u8>| SubmitParams { envelope: Hex(envelope), via: None };
    let ours = command(1).sign(&OperatorKey::demo(2).unwrap()).encode();
    let decided = client.call::<AdminSubmit>(&submit(ours.clone())).await.unwrap();
    assert_eq!(decided.nodes.len(), 2);
    let again = client.call::<AdminSubmit>(&submit(ours)).await.unwrap_err();
    assert!(again.message.contains("nonce_replayed"), "{again}");
    let strange = command(2).sign(&OperatorKey::from_seed("somebody", [9; 32])).encode();
    let strange = client.call::<AdminSubmit>(&submit(strange)).await.unwrap_err();
    assert!(strange.message.contains("not_authorized"), "{strange}");
    let noise = client.call::<AdminSubmit>(&submit(vec![1, 2, 3])).await.unwrap_err();
    assert!(noise.is(ErrorCode::InvalidParams));
    let trails = client.call::<AdminAudit>(&AuditParams::default()).await.unwrap();
    for trail in trails.nodes {
        let rejected = trail.entries.iter().map(|entry| entry.decision).collect::<Vec<_>>();
        assert!(rejected.contains(&Decision::Rejected(Rejection::NotAuthorized)), "{rejected:?}");
    }
    server.stop().await;
}
