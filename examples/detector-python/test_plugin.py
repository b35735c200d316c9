"""``python3 -m unittest``; needs neither WebAssembly nor a running Salve."""

import random
import statistics
import unittest

from plugin import MAD_TO_DEVIATION, RobustPeers, deviation_of, median_of
from salve_plugin import Invalid, Kind, State
from salve_plugin.testing import DetectorTest


class Statistics(unittest.TestCase):
    def test_the_deviation_is_the_median_distance(self):
        """Guarantees: for any list, ties and equal values included, what the search finds is what sorting gives."""
        source = random.Random(1)
        for _ in range(3000):
            values = sorted(source.choice([source.gauss(0, 1), float(source.randrange(4))]) for _ in range(source.randrange(1, 40)))
            middle = median_of(values)
            self.assertEqual(middle, statistics.median_low(values))
            distances = sorted(abs(value - middle) for value in values)
            self.assertEqual(deviation_of(values, middle), distances[(len(values) - 1) // 2], values)


class Alone(unittest.TestCase):
    def test_noise_is_not_observed(self):
        """Guarantees: of 20,000 points of ordinary noise, heavy tails included, fewer than 1 in 1,000 are observed."""
        source = random.Random(2)
        test = DetectorTest(RobustPeers)
        series = [test.add("latency", {"n": str(n)}, group=n) for n in range(10)]
        observed = 0
        for _ in range(2000):
            observed += len(test.push([(n, source.gauss(100, 5) + (source.expovariate(1) if n % 2 else 0)) for n in series]))
        self.assertLess(observed, 20)

    def test_spikes_then_shift(self):
        """Scenario: one far point; a level that moves and stays. Guarantees: a point, then a shift, which becomes usual."""
        source = random.Random(3)
        test = DetectorTest(RobustPeers)
        series = test.add("latency")
        for _ in range(120):
            test.push([(series, source.gauss(100, 5))])
        (spike,) = test.push([(series, 200.0)])
        self.assertEqual((spike.kind, spike.rising, spike.value), (Kind.POINT, True, 200.0))
        self.assertTrue(0.5 < spike.score < 1 and spike.lower < 100 < spike.upper < 200)
        self.assertEqual(test.push([(series, 101.0)]), [])
        kinds = []
        for _ in range(60):
            kinds += [seen.kind for seen in test.push([(series, source.gauss(20, 1))])]
        self.assertEqual(kinds[13:16], [Kind.POINT, Kind.LEVEL_SHIFT, Kind.LEVEL_SHIFT])
        self.assertTrue(20 <= len(kinds) <= 35, len(kinds))

    def test_flat_series(self):
        """Guarantees: the last digit of a flat series, and of one that is 0, is not abnormal; a real step is."""
        for level, step in [(100.0, 101.0), (0.0, 0.001)]:
            test = DetectorTest(RobustPeers)
            series = test.add("pool.size")
            for _ in range(60):
                test.push([(series, level)])
            self.assertEqual(test.push([(series, step)]), [])
            self.assertEqual(len(test.push([(series, level + 50)])), 1)


class Peers(unittest.TestCase):
    def setUp(self):
        self.source = random.Random(4)
        self.test = DetectorTest(RobustPeers)
        self.series = [self.test.add("cpu", {"host": str(n)}, group=7) for n in range(8)]
        for _ in range(100):
            self.push()

    def push(self, shift=0.0, odd=0.0):
        return self.test.push([(n, self.source.gauss(50, 2) + shift + (odd if n == 3 else 0)) for n in self.series])

    def test_what_all_share_is_not_observed(self):
        """Scenario: load doubles for all peers, then one leaves them. Guarantees: only that one is observed."""
        self.assertEqual(self.push(shift=50), [])
        (seen,) = self.push(shift=50, odd=150)
        self.assertEqual(seen.series, 3)
        self.assertIn("its peers moved by", seen.reason)

    def test_one_that_stays_behind_is_normal(self):
        """Guarantees: a series that is as ever is not observed because its peers moved."""
        self.assertEqual(self.push(shift=50, odd=-50), [])

    def test_scores(self):
        """Guarantees: dense scores are of every point, above 0.5 just for what is observed."""
        values = [(n, self.test.now, 50.0 if n != 3 else 150.0, 0) for n in self.series]
        output = self.test.push_columns(values, scores=True)
        self.assertEqual([n for n, score in enumerate(output.scores.score) if score > 0.5], [3])
        self.assertEqual([seen.series for seen in output.observations], [3])


class Restarts(unittest.TestCase):
    def test_a_restart_changes_nothing(self):
        """Guarantees: the same is said with and without a restart between two points; broken snapshots are refused."""
        tests = [DetectorTest(RobustPeers), DetectorTest(RobustPeers)]
        source = random.Random(5)
        for test in tests:
            test.add("a", {"x": "1"}, group=1)
            test.add("b", group=2)
        said = [[], []]
        for step in range(200):
            values = [(0, source.gauss(10, 1)), (1, 90.0 if step > 180 else source.gauss(5, 1))]
            if step == 190:
                tests[1].restart_from(tests[1].snapshot())
            for test, seen in zip(tests, said):
                seen.append(test.push(values))
        self.assertEqual(said[0], said[1])
        self.assertEqual(sum(map(len, said[0])), 19)
        state = tests[0].snapshot()
        for broken in [State(9, state.bytes), State(1, state.bytes[:-3])]:
            with self.assertRaises(Invalid):
                tests[0].restart_from(broken)
        self.assertGreater(MAD_TO_DEVIATION, 1)


if __name__ == "__main__":
    unittest.main()
