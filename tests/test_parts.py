"""What the configuration's memory allows each of many jobs."""

from agent.parts import MAX_BLOCK, MIN_BLOCK, Readers

MIB = 1024 * 1024


def test_a_job_alone_reads_in_large_blocks():
    assert MAX_BLOCK == Readers(64 * MIB, count=1).block_bytes()


def test_many_jobs_share_the_memory():
    readers, blocks = Readers(64 * MIB), []
    for _ in range(64):
        readers.count += 1
        blocks.append(readers.block_bytes())

    assert MIN_BLOCK <= min(blocks) < max(blocks) == MAX_BLOCK
    assert 4 * sum(blocks) <= 2 * readers.memory
