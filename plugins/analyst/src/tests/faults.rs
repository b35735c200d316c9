//! Each fault of the shop at each of its services, as telemetry shows it.

use super::*;

/// The shop's faults, with the service and the mechanism that are at fault.
pub(super) fn faults() -> Vec<(&'static str, View, &'static str, &'static str)> {
    let trend = |name: &str| symptom(name, "process.memory.usage", Kind::Trend, true);
    let missing = |name: &str| symptom(name, "process.cpu.time", Kind::Missing, true);
    vec![
        (
            "kill gateway",
            silent(
                view(
                    vec![service(CHECKOUT, 0.0, 0.0, 0.0), service(INVENTORY, 0.0, 0.0, 0.0)],
                    vec![],
                    vec![less_at(CHECKOUT), less_at(INVENTORY)],
                ),
                GATEWAY,
            ),
            GATEWAY,
            "absent",
        ),
        (
            "kill gateway, only its own telemetry is missing",
            silent(
                view(
                    vec![service(CHECKOUT, 10.0, 0.0, 22.0), service(INVENTORY, 10.0, 0.0, 8.0)],
                    vec![],
                    vec![missing(GATEWAY)],
                ),
                GATEWAY,
            ),
            GATEWAY,
            "absent",
        ),
        (
            "kill checkout",
            silent(
                view(
                    vec![service(GATEWAY, 50.0, 0.7, 12.0), service(INVENTORY, 15.0, 0.0, 8.0)],
                    vec![edge(GATEWAY, CHECKOUT, 50.0, 0.7, 8.0)],
                    vec![errors_at(GATEWAY), less_at(INVENTORY), less_at(CHECKOUT)],
                ),
                CHECKOUT,
            ),
            CHECKOUT,
            "absent",
        ),
        (
            "kill inventory",
            silent(
                view(
                    vec![service(GATEWAY, 50.0, 0.7, 22.0), service(CHECKOUT, 50.0, 0.7, 14.0)],
                    vec![edge(GATEWAY, CHECKOUT, 50.0, 0.7, 16.0), edge(CHECKOUT, INVENTORY, 50.0, 0.7, 3.0)],
                    vec![errors_at(GATEWAY), errors_at(CHECKOUT), less_at(INVENTORY)],
                ),
                INVENTORY,
            ),
            INVENTORY,
            "absent",
        ),
        (
            "hang gateway",
            silent(
                view(
                    vec![service(CHECKOUT, 0.0, 0.0, 0.0), service(INVENTORY, 0.0, 0.0, 0.0)],
                    vec![],
                    vec![less_at(CHECKOUT), missing(GATEWAY)],
                ),
                GATEWAY,
            ),
            GATEWAY,
            "absent",
        ),
        (
            "hang checkout",
            silent(
                view(
                    vec![service(GATEWAY, 40.0, 0.6, 700.0), service(INVENTORY, 12.0, 0.0, 8.0)],
                    vec![edge(GATEWAY, CHECKOUT, 40.0, 0.6, 690.0)],
                    vec![errors_at(GATEWAY), slow_at(GATEWAY), less_at(INVENTORY)],
                ),
                CHECKOUT,
            ),
            CHECKOUT,
            "unresponsive",
        ),
        (
            // Checkout's workers all wait, so it turns most orders away by itself.
            "hang inventory",
            silent(
                view(
                    vec![service(GATEWAY, 50.0, 0.9, 300.0), service(CHECKOUT, 50.0, 0.9, 290.0)],
                    vec![
                        edge(GATEWAY, CHECKOUT, 50.0, 0.9, 295.0),
                        edge(CHECKOUT, INVENTORY, 15.0, 0.9, 900.0),
                    ],
                    vec![errors_at(GATEWAY), errors_at(CHECKOUT), slow_at(CHECKOUT), slow_at(GATEWAY)],
                ),
                INVENTORY,
            ),
            INVENTORY,
            "unresponsive",
        ),
        (
            "inventory's workers hang, its telemetry does not",
            view(
                vec![
                    service(GATEWAY, 40.0, 0.8, 800.0),
                    service(CHECKOUT, 40.0, 0.8, 790.0),
                    service(INVENTORY, 2.0, 0.0, 8.0),
                ],
                vec![edge(GATEWAY, CHECKOUT, 40.0, 0.8, 795.0), edge(CHECKOUT, INVENTORY, 40.0, 0.8, 780.0)],
                vec![errors_at(GATEWAY), errors_at(CHECKOUT), slow_at(CHECKOUT), less_at(INVENTORY)],
            ),
            INVENTORY,
            "unresponsive",
        ),
        ("leak gateway", with_healthy_map(vec![trend(GATEWAY)]), GATEWAY, "saturation"),
        ("leak checkout", with_healthy_map(vec![trend(CHECKOUT)]), CHECKOUT, "saturation"),
        ("leak inventory", with_healthy_map(vec![trend(INVENTORY)]), INVENTORY, "saturation"),
        (
            "bad config of gateway",
            changed(
                view(
                    vec![
                        service(GATEWAY, 50.0, 0.5, 20.0),
                        service(CHECKOUT, 25.0, 0.002, 22.0),
                        service(INVENTORY, 25.0, 0.0, 8.0),
                    ],
                    vec![
                        edge(GATEWAY, CHECKOUT, 25.0, 0.002, 24.0),
                        edge(CHECKOUT, INVENTORY, 25.0, 0.0, 10.0),
                    ],
                    vec![errors_at(GATEWAY), less_at(CHECKOUT)],
                ),
                change(GATEWAY, "pool.size", FAULT, "other"),
            ),
            GATEWAY,
            "config-change",
        ),
        (
            "bad config of checkout",
            changed(
                view(
                    vec![
                        service(GATEWAY, 50.0, 0.4, 28.0),
                        service(CHECKOUT, 50.0, 0.4, 20.0),
                        service(INVENTORY, 30.0, 0.001, 8.0),
                    ],
                    vec![
                        edge(GATEWAY, CHECKOUT, 50.0, 0.4, 23.0),
                        edge(CHECKOUT, INVENTORY, 30.0, 0.001, 10.0),
                    ],
                    vec![errors_at(GATEWAY), errors_at(CHECKOUT)],
                ),
                change(CHECKOUT, "pool.size", FAULT, "other"),
            ),
            CHECKOUT,
            "config-change",
        ),
        (
            "bad config of inventory",
            changed(
                view(
                    vec![
                        service(GATEWAY, 50.0, 0.3, 28.0),
                        service(CHECKOUT, 50.0, 0.3, 21.0),
                        service(INVENTORY, 50.0, 0.3, 8.0),
                    ],
                    vec![
                        edge(GATEWAY, CHECKOUT, 50.0, 0.3, 23.0),
                        edge(CHECKOUT, INVENTORY, 50.0, 0.3, 10.0),
                    ],
                    vec![errors_at(GATEWAY), errors_at(CHECKOUT), errors_at(INVENTORY)],
                ),
                change(INVENTORY, "pool.size", FAULT, "other"),
            ),
            INVENTORY,
            "config-change",
        ),
        (
            "bad config of gateway, no order gets through",
            changed(
                view(
                    vec![
                        service(GATEWAY, 50.0, 1.0, 1.0),
                        service(CHECKOUT, 0.0, 0.0, 0.0),
                        service(INVENTORY, 0.0, 0.0, 0.0),
                    ],
                    vec![edge("load", GATEWAY, 50.0, 1.0, 2.0)],
                    vec![errors_at(GATEWAY), less_at(CHECKOUT), less_at(INVENTORY)],
                ),
                change(GATEWAY, "currency", STARTED + SECOND, "other"),
            ),
            GATEWAY,
            "config-change",
        ),
        (
            "bad config of checkout, no order gets through",
            changed(
                view(
                    vec![
                        service(GATEWAY, 50.0, 1.0, 8.0),
                        service(CHECKOUT, 50.0, 1.0, 1.0),
                        service(INVENTORY, 0.0, 0.0, 0.0),
                    ],
                    vec![edge("load", GATEWAY, 50.0, 1.0, 9.0), edge(GATEWAY, CHECKOUT, 50.0, 1.0, 2.0)],
                    vec![errors_at(GATEWAY), errors_at(CHECKOUT), less_at(INVENTORY)],
                ),
                change(CHECKOUT, "tax_table", FAULT, "other"),
            ),
            CHECKOUT,
            "config-change",
        ),
        (
            // It is stopped again and again: calls that it makes wait as well, and its telemetry comes late.
            "checkout is starved of the processor",
            view(
                vec![
                    service(GATEWAY, 50.0, 0.002, 260.0),
                    service(CHECKOUT, 30.0, 0.002, 210.0),
                    service(INVENTORY, 50.0, 0.001, 8.0),
                ],
                vec![
                    edge(GATEWAY, CHECKOUT, 50.0, 0.002, 255.0),
                    edge(CHECKOUT, INVENTORY, 30.0, 0.001, 95.0),
                ],
                vec![slow_at(GATEWAY), slow_at(CHECKOUT)],
            ),
            CHECKOUT,
            "slow",
        ),
        (
            // Half of its calls time out while it is stopped itself, and of some of them inventory's account is still on its way.
            "checkout is starved so much that its calls fail",
            view(
                vec![
                    service(GATEWAY, 50.0, 0.5, 790.0),
                    service(CHECKOUT, 40.0, 0.3, 552.0),
                    service(INVENTORY, 21.0, 0.001, 9.0),
                ],
                vec![edge(GATEWAY, CHECKOUT, 50.0, 0.5, 780.0), edge(CHECKOUT, INVENTORY, 35.0, 0.5, 330.0)],
                vec![errors_at(GATEWAY), slow_at(GATEWAY), slow_at(CHECKOUT)],
            ),
            CHECKOUT,
            "slow",
        ),
        (
            "inventory is starved, and its spans come too late to count",
            view(
                vec![
                    service(GATEWAY, 50.0, 0.002, 175.0),
                    service(CHECKOUT, 50.0, 0.002, 167.0),
                    service(INVENTORY, 0.0, 0.0, 0.0),
                ],
                vec![
                    edge(GATEWAY, CHECKOUT, 50.0, 0.002, 170.0),
                    edge(CHECKOUT, INVENTORY, 50.0, 0.001, 155.0),
                ],
                vec![slow_at(GATEWAY), slow_at(CHECKOUT)],
            ),
            INVENTORY,
            "unresponsive",
        ),
        (
            "checkout calls the wrong port",
            changed(
                view(
                    vec![
                        service(GATEWAY, 50.0, 0.7, 20.0),
                        service(CHECKOUT, 50.0, 0.7, 12.0),
                        service(INVENTORY, 15.0, 0.0, 8.0),
                    ],
                    vec![edge(GATEWAY, CHECKOUT, 50.0, 0.7, 14.0), edge(CHECKOUT, INVENTORY, 50.0, 0.7, 3.0)],
                    vec![errors_at(GATEWAY), errors_at(CHECKOUT), less_at(INVENTORY)],
                ),
                change(CHECKOUT, "inventory_url", FAULT, "other"),
            ),
            CHECKOUT,
            "config-change",
        ),
        (
            "checkout calls a name that nobody has, and nobody saw the change",
            view(
                vec![
                    service(GATEWAY, 50.0, 0.7, 20.0),
                    service(CHECKOUT, 50.0, 0.7, 12.0),
                    service(INVENTORY, 15.0, 0.0, 8.0),
                ],
                vec![
                    edge(GATEWAY, CHECKOUT, 50.0, 0.7, 14.0),
                    edge(CHECKOUT, INVENTORY, 15.0, 0.0, 10.0),
                    edge(CHECKOUT, "127.0.0.1:9", 35.0, 1.0, 1.0),
                ],
                vec![errors_at(GATEWAY), errors_at(CHECKOUT)],
            ),
            CHECKOUT,
            "errors",
        ),
        (
            // Requests reach inventory and are answered in time; checkout gives up before.
            "checkout's timeout is far too short",
            view(
                vec![
                    service(GATEWAY, 50.0, 0.8, 12.0),
                    service(CHECKOUT, 50.0, 0.8, 6.0),
                    service(INVENTORY, 50.0, 0.0, 8.0),
                ],
                vec![edge(GATEWAY, CHECKOUT, 50.0, 0.8, 8.0), edge(CHECKOUT, INVENTORY, 50.0, 0.8, 1.0)],
                vec![errors_at(GATEWAY), errors_at(CHECKOUT)],
            ),
            CHECKOUT,
            "errors",
        ),
        (
            "inventory is slow",
            view(
                vec![
                    service(GATEWAY, 50.0, 0.002, 220.0),
                    service(CHECKOUT, 50.0, 0.002, 212.0),
                    service(INVENTORY, 50.0, 0.001, 198.0),
                ],
                vec![
                    edge(GATEWAY, CHECKOUT, 50.0, 0.002, 214.0),
                    edge(CHECKOUT, INVENTORY, 50.0, 0.001, 200.0),
                ],
                vec![slow_at(GATEWAY), slow_at(CHECKOUT)],
            ),
            INVENTORY,
            "slow",
        ),
        (
            "inventory is slow, its callers run into timeouts and out of workers",
            view(
                vec![
                    service(GATEWAY, 50.0, 0.6, 420.0),
                    service(CHECKOUT, 50.0, 0.6, 400.0),
                    service(INVENTORY, 25.0, 0.001, 700.0),
                ],
                vec![edge(GATEWAY, CHECKOUT, 50.0, 0.6, 410.0), edge(CHECKOUT, INVENTORY, 25.0, 0.3, 480.0)],
                vec![errors_at(GATEWAY), errors_at(CHECKOUT), slow_at(GATEWAY), slow_at(CHECKOUT)],
            ),
            INVENTORY,
            "slow",
        ),
        (
            "checkout itself is slow",
            view(
                vec![
                    service(GATEWAY, 50.0, 0.002, 230.0),
                    service(CHECKOUT, 50.0, 0.002, 222.0),
                    service(INVENTORY, 50.0, 0.001, 8.0),
                ],
                vec![
                    edge(GATEWAY, CHECKOUT, 50.0, 0.002, 224.0),
                    edge(CHECKOUT, INVENTORY, 50.0, 0.001, 10.0),
                ],
                vec![slow_at(GATEWAY), slow_at(CHECKOUT)],
            ),
            CHECKOUT,
            "slow",
        ),
    ]
}
