"""What we rely on the kernel for, pinned down without any code of vnet's.

When one of these fails, the kernel differs from those we know, and the code that says so in its
comments has to change. Each names the file that relies on it.
"""
