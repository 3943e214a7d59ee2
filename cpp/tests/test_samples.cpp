// Random numbers by counter, samples drawn from them, and losses on samples: known answers, plain
// loops, and the same bits in lanes and alone.
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "check.hpp"
#include "losses/registry.hpp"
#include "problem.hpp"

using namespace linnet;

namespace {

using Words = std::vector<std::uint64_t>;
using P = Pack<double, native_lanes<double>>;
constexpr int lanes = native_lanes<double>;

/// The same generator, a block at a time, as it is written in the paper.
Words plain_philox(std::uint64_t seed, std::uint64_t step, std::uint32_t stream,
                   std::uint32_t block) {
    std::uint32_t c[4] = {block, static_cast<std::uint32_t>(step),
                          static_cast<std::uint32_t>(step >> 32), stream};
    std::uint32_t k[2] = {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t a = std::uint64_t{0xD2511F53} * c[0];
        const std::uint64_t b = std::uint64_t{0xCD9E8D57} * c[2];
        const std::uint32_t next[4] = {
            static_cast<std::uint32_t>(b >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(b),
            static_cast<std::uint32_t>(a >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(a)};
        std::memcpy(c, next, sizeof(c));
        k[0] += 0x9E3779B9;
        k[1] += 0xBB67AE85;
    }
    return {c[0], c[1], c[2], c[3]};
}

double plain_uniform(const Words& words, std::size_t first) {
    const std::uint64_t bits = (words[first] << 20) | (words[first + 1] >> 12);
    return static_cast<double>(bits) * 0x1p-52 + 0x1p-53;
}

/// Sample i of a step, by the rules that Sampler promises.
std::vector<double> plain_sample(const Draws& draws, std::uint64_t step, std::uint32_t stream,
                                 Index i, Index dim) {
    const Index n_pairs = (dim + 1) / 2;
    const bool has_length = draws.law == LawKind::ball || draws.law == LawKind::mixture;
    const Index first = i * (n_pairs + (has_length ? 1 : 0));
    const auto words = [&](Index block) {
        return plain_philox(draws.seed, step, stream, static_cast<std::uint32_t>(first + block));
    };
    std::vector<double> x;
    for (Index p = 0; p < n_pairs; ++p) {
        const Words w = words(p);
        const double length = std::sqrt(-2 * std::log(plain_uniform(w, 0)));
        const double turn = 2 * 3.14159265358979323846 * plain_uniform(w, 2);
        x.push_back(length * std::cos(turn));
        x.push_back(length * std::sin(turn));
    }
    x.resize(static_cast<std::size_t>(dim));
    double square = 0;
    for (const double part : x) square += part * part;
    double factor = draws.radii[0];
    if (has_length) {
        const double u = plain_uniform(words(n_pairs), 0);
        if (draws.law == LawKind::ball) factor *= std::pow(u, 1.0 / static_cast<double>(dim));
        for (std::size_t k = 0; draws.law == LawKind::mixture && k + 1 < draws.radii.size(); ++k) {
            if (u > draws.cumulative[k]) factor = draws.radii[k + 1];
        }
    }
    if (draws.law != LawKind::gaussian) factor /= std::sqrt(square);
    for (double& part : x) part *= factor;
    return x;
}

/// Runs with samples of their own, or shared ones.
struct Data {
    std::vector<double> inputs, targets;
    std::vector<double> noise{0.0, 0.25, 0.0};
    std::vector<std::int64_t> streams;
    std::vector<double> directions;
    Index stride;
    LossData loss;
    Draws draws;

    /// shared: all runs see the same inputs; targets are their own.
    Data(const std::string& name, Index n_runs, Index dim, Index n_samples, bool shared, bool noisy,
         Index n_out = 1)
        : loss(name, {n_runs}, dim, n_out) {
        std::mt19937 generator(4);
        std::normal_distribution<double> normal;
        stride = (n_samples + 15) / 16 * 16;
        const Index sets = shared ? 1 : n_runs;
        inputs.assign(static_cast<std::size_t>(sets * dim * stride), 0.0);
        for (Index row = 0; row < sets * dim; ++row) {
            for (Index k = 0; k < n_samples; ++k)
                inputs[static_cast<std::size_t>(row * stride + k)] = normal(generator);
        }
        const bool is_of_law = name == "spherical";
        if (!is_of_law) {
            loss.sample_extent = stride;
            loss.values["n_samples"] = n_samples;
            loss.values["inputs"] = RunArray<double>{inputs.data(), {shared ? 0 : dim * stride}};
            targets.assign(static_cast<std::size_t>(n_runs * n_out * stride), 0.0);
            for (Index run = 0; run < n_runs; ++run) {
                for (Index k = 0; k < n_samples; ++k) {
                    const auto of_class = static_cast<Index>(generator() % (n_out + 1));
                    for (Index i = 0; i < n_out; ++i) {
                        double& y =
                            targets[static_cast<std::size_t>((run * n_out + i) * stride + k)];
                        y = generator() % 2 == 0 ? 1 : -1;
                        // The last class but one is all classes alike.
                        if (name == "cross_entropy")
                            y = of_class == n_out ? 1 / static_cast<double>(n_out)
                                : of_class == i   ? 1
                                                  : 0;
                    }
                }
            }
            loss.values["targets"] = RunArray<double>{targets.data(), {n_out * stride}};
            if (name == "cross_entropy") loss.values["n_soft"] = Index{1};
        }
        noise.resize(static_cast<std::size_t>(n_runs), 0.1);
        if (noisy) loss.values["label_noise"] = RunArray<double>{noise.data(), {1}};
        for (Index run = 0; run < n_runs; ++run) {
            streams.push_back(3 * run + 1);
            double square = 0;
            for (Index j = 0; j < dim; ++j) {
                directions.push_back(normal(generator));
                square += directions.back() * directions.back();
            }
            for (Index j = 0; j < dim; ++j)
                directions[static_cast<std::size_t>(run * dim + j)] /= std::sqrt(square);
        }
        if (is_of_law) {
            loss.values["law"] = SphericalTable{};
            loss.values["direction"] = RunArray<double>{directions.data(), {dim}};
        }
        draws.seed = 0x0123456789abcdef;
        draws.sizes = {{0, n_samples, 0}};
        draws.stream = {streams.data(), {1}};
        draws.radii = {1.5};
        draws.cumulative = {1.0};
    }
};

/// Residual, loss, margin and accuracy of every run: by packs of runs, in the slots given, and by one run
/// after another.
void compare_engines(const Data& data, const Draws* draws, Index dim,
                     const std::vector<Index>& slots) {
    const auto n_slots = static_cast<int>(slots.size());
    std::mt19937 generator(9);
    std::normal_distribution<double> normal;
    const auto packed = Losses::engine<P>(data.loss, draws, n_slots);
    const Index n_out = data.loss.n_outputs;
    const Index size = dim * n_out;
    Arena<P> products(size * n_slots / lanes);
    Arena<P> residuals(size * n_slots / lanes);
    Arena<double> product(size);
    Arena<double> residual(size);
    for (int slot = 0; slot < n_slots; ++slot) {
        packed->set_run(slot, slots[static_cast<std::size_t>(slot)], slot);
        for (Index j = 0; j < size; ++j)
            products.data()[slot / lanes * size + j][slot % lanes] = normal(generator);
    }
    for (int taken = 0; taken < 2; ++taken) {
        for (int group = 0; group < n_slots / lanes; ++group) {
            const Entries<P> w{products.data() + group * size, dim, n_out, dim};
            packed->residual(group, w, {residuals.data() + group * size, dim, n_out, dim});
            const P losses = packed->loss(group, w);
            const P margins = packed->margin(group, w);
            const P accuracies = packed->accuracy(group, w);
            for (int r = 0; r < lanes; ++r) {
                const int slot = group * lanes + r;
                const Index run = slots[static_cast<std::size_t>(slot)];
                if (run < 0) continue;
                const auto alone = Losses::engine<double>(data.loss, draws, 1);
                alone->set_run(0, run, slot + taken);
                for (Index j = 0; j < size; ++j) product.data()[j] = w.data[j][r];
                const Entries<double> own{product.data(), dim, n_out, dim};
                alone->residual(0, own, {residual.data(), dim, n_out, dim});
                for (Index j = 0; j < size; ++j)
                    CHECK(residuals.data()[group * size + j][r] == residual.data()[j]);
                CHECK(losses[r] == alone->loss(0, own));
                CHECK(margins[r] == alone->margin(0, own));
                CHECK(accuracies[r] == alone->accuracy(0, own));
            }
        }
        packed->advance();
    }
}

long allocations_of(Index n_steps, bool draws) {
    tests::Batch<double> batch({3, 4, 1}, 20, n_steps, 1);
    const Data data("logistic", 20, 3, 50, true, false);
    batch.problem.loss = data.loss;
    if (draws) batch.descent.draws = &data.draws;
    batch.descent.rule = StepKind::loss_normalized;
    std::vector<double> zeros(20);
    const std::vector<double> none(StepParameters::n_numbers);
    std::vector<double> ones(20, 0.01);
    std::vector<double> elapsed(20);
    std::vector<double> time(20);
    batch.descent.scale = {ones.data(), {1}};
    batch.descent.parameters = {none.data(), {0}};
    batch.descent.elapsed = {zeros.data(), {1}};
    batch.results.elapsed = elapsed.data();
    batch.results.time = time.data();
    const long before = tests::allocations();
    CHECK(train(batch.problem, batch.descent, batch.results, {1, {}}));
    return tests::allocations() - before;
}

}  // namespace

TEST(philox_gives_the_published_numbers) {
    // Those of Random123's kat_vectors for philox4x32 with 10 rounds.
    struct Known {
        std::uint32_t counter[4], key[2], answer[4];
    };
    const Known known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (const Known& one : known) {
        PhiloxKey key;
        key.seed = one.key[0] | (std::uint64_t{one.key[1]} << 32);
        key.step = one.counter[1] | (std::uint64_t{one.counter[2]} << 32);
        key.stream = one.counter[3];
        PhiloxWords words[4];
        philox(key, one.counter[0], 1, words);
        for (int k = 0; k < 4; ++k) CHECK(words[k][0] == one.answer[k]);
    }
}

TEST(philox_counts_blocks_along_the_lanes) {
    for (const std::uint32_t stride : {1U, 3U, 0x40000001U}) {
        PhiloxKey key;
        key.seed = 0xfedcba9876543210;
        key.step = 0x1122334455667788;
        key.stream = 77;
        PhiloxWords words[4];
        const std::uint32_t first = 0xfffffffe;  // so that the counter wraps
        philox(key, first, stride, words);
        for (int r = 0; r < philox_lanes; ++r) {
            const Words plain = plain_philox(key.seed, key.step, key.stream,
                                             first + stride * static_cast<std::uint32_t>(r));
            for (int k = 0; k < 4; ++k) CHECK(words[k][r] == plain[static_cast<std::size_t>(k)]);
            const Words two = {words[0][r], words[1][r]};
            CHECK(philox_uniform(words[0], words[1])[r] == plain_uniform(two, 0));
        }
    }
    const PhiloxWords all = 0xffffffffU - PhiloxWords{};
    CHECK(philox_uniform(PhiloxWords{}, PhiloxWords{})[0] == 0x1p-53);
    CHECK(philox_uniform(all, all)[0] == 1 - 0x1p-53);
}

TEST(samples_follow_their_rules) {
    for (const LawKind law :
         {LawKind::gaussian, LawKind::sphere, LawKind::ball, LawKind::mixture}) {
        for (const Index dim : {2, 3, 17}) {
            Data data("spherical", 3, dim, 100, true, false);
            data.draws.law = law;
            if (law == LawKind::mixture) {
                data.draws.radii = {0.5, 1.0, 4.0};
                data.draws.cumulative = {0.2, 0.7, 1.0};
            }
            const SampleData samples(data.loss);
            Sampler<double> sampler(samples, data.draws);
            const Index ld = 64;
            std::vector<double> drawn(static_cast<std::size_t>(dim * ld));
            const Index first = 128;
            sampler.draw(2, 5, first, ld, drawn.data(), ld);
            for (Index i = 0; i < ld; ++i) {
                std::vector<double> x = plain_sample(data.draws, 5, 7, first + i, dim);
                double dot = 0;
                double size = 0;
                for (Index j = 0; j < dim; ++j) {
                    const auto at = static_cast<std::size_t>(j);
                    dot += x[at] * data.directions[static_cast<std::size_t>(2 * dim + j)];
                    size = std::max(size, std::abs(x[at]));
                }
                for (Index j = 0; j < dim; ++j) {
                    const double own = drawn[static_cast<std::size_t>(j * ld + i)];
                    const double want = (dot < 0 ? -1 : 1) * x[static_cast<std::size_t>(j)];
                    CHECK(std::abs(own - want) <= 1e-14 * size);
                }
            }
        }
    }
}

TEST(samples_of_data_are_rows_of_it) {
    // More samples than a chunk holds, of fewer rows.
    const Index n_drawn = sample_chunk + 70;
    Data data("squared_samples", 3, 4, 23, false, false, 2);
    data.draws.sizes = {{0, n_drawn, 0}};
    Readings<double> readings(data.loss, &data.draws, 1, {{"inputs", 4}, {"targets", 2}});
    readings.set_run(0, 1);
    CHECK(readings.n_samples(9) == n_drawn);
    const double* const all = data.inputs.data() + 4 * data.stride;
    const double* const targets = data.targets.data() + 2 * data.stride;
    Index n_seen = 0;
    readings.for_each_chunk(0, 1, 9, [&](const auto& chunk) {
        CHECK(chunk.first == n_seen);
        n_seen += chunk.n;
        const double* const x = readings.of_chunk(0, 0, chunk);
        const double* const y = readings.of_chunk(1, 0, chunk);
        for (Index i = 0; i < chunk.n; ++i) {
            const double u = plain_uniform(
                plain_philox(data.draws.seed, 9, 4, static_cast<std::uint32_t>(chunk.first + i)),
                0);
            const auto row = static_cast<Index>(u * 23);
            for (Index j = 0; j < 4; ++j) CHECK(x[j * chunk.ld + i] == all[j * data.stride + row]);
            for (Index k = 0; k < 2; ++k)
                CHECK(y[k * chunk.ld + i] == targets[k * data.stride + row]);
        }
    });
    CHECK(n_seen == n_drawn);
}

TEST(a_loss_in_lanes_gives_the_bits_of_a_loss_alone) {
    const int n_slots = 2 * lanes;
    std::vector<Index> full;
    std::vector<Index> holes;
    for (int slot = 0; slot < n_slots; ++slot) {
        full.push_back((5 * slot + 2) % n_slots);
        holes.push_back(slot % 3 == 1 ? -1 : slot);
    }
    for (const char* const name :
         {"logistic", "exponential", "spherical", "squared_samples", "cross_entropy"}) {
        for (const Index dim : {2, 5, 70}) {
            for (const Index n_samples : {1, 15, 16, 17, 255, 257, 600}) {
                for (const bool shared : {true, false}) {
                    for (const bool noisy : {false, true}) {
                        for (const Index n_out : {1, 3}) {
                            const bool is_by_law = std::strcmp(name, "spherical") == 0;
                            const bool has_classes = std::strcmp(name, "cross_entropy") == 0;
                            if ((is_by_law && n_out > 1) || (has_classes && n_out == 1)) continue;
                            const Data data(name, n_slots, dim, n_samples, shared, noisy, n_out);
                            for (const auto& slots : {full, holes}) {
                                if (!is_by_law) compare_engines(data, nullptr, dim, slots);
                                compare_engines(data, &data.draws, dim, slots);
                            }
                        }
                    }
                }
            }
        }
    }
}

TEST(a_loss_on_samples_is_the_mean_over_them) {
    for (const Index n_samples : {1, 16, 31, 300}) {
        const Index dim = 3;
        const Data data("logistic", 1, dim, n_samples, true, false);
        const auto engine = Losses::engine<double>(data.loss, nullptr, 1);
        engine->set_run(0, 0, 0);
        Arena<double> w(dim);
        Arena<double> residual(dim);
        for (Index j = 0; j < dim; ++j) w.data()[j] = 1 - 0.7 * static_cast<double>(j);
        const Entries<double> product{w.data(), dim, 1, dim};
        engine->residual(0, product, {residual.data(), dim, 1, dim});
        double loss = 0;
        double least = 1e300;
        std::vector<double> gradient(3);
        for (Index k = 0; k < n_samples; ++k) {
            double margin = 0;
            const auto z = [&](Index j) {
                return data.targets[static_cast<std::size_t>(k)] *
                       data.inputs[static_cast<std::size_t>(j * data.stride + k)];
            };
            for (Index j = 0; j < dim; ++j) margin += z(j) * w.data()[j];
            least = std::min(least, margin);
            loss += std::log1p(std::exp(-margin));
            for (Index j = 0; j < dim; ++j)
                gradient[static_cast<std::size_t>(j)] -= z(j) / (1 + std::exp(margin));
        }
        const double norm = std::sqrt(1 + 0.3 * 0.3 + 0.4 * 0.4);
        const auto n = static_cast<double>(n_samples);
        CHECK(std::abs(engine->loss(0, product) / (loss / n) - 1) < 1e-13);
        CHECK(std::abs(engine->margin(0, product) - least / norm) < 1e-13);
        for (Index j = 0; j < dim; ++j)
            CHECK(std::abs(residual.data()[j] - gradient[static_cast<std::size_t>(j)] / n) < 1e-13);
    }
}

TEST(training_on_samples_allocates_nothing_in_the_loop) {
    for (const bool draws : {false, true}) {
        const long few = allocations_of(10, draws);
        const long many = allocations_of(500, draws);
        CHECK_MESSAGE(few == many,
                      std::to_string(few) + " against " + std::to_string(many) + " allocations");
    }
}
